"""One training stage: AdamW, warm-up and cosine by step, a log line now and then, checkpoints that resume exactly."""

import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
import typer
from torch import Tensor, nn

from data_samples.making.training.packing import Tally


class Stage(Protocol):
    """What a stage brings: its settings, the modules it trains, and the loss of a step."""

    name: str
    settings: dict[str, Any]
    modules: nn.ModuleDict

    def rate_scale(self, parameter: str) -> float:
        """Learning rate of this parameter relative to the stage's."""
        ...

    def loss(self, step: int) -> tuple[Tensor, Tally]: ...


@dataclass(frozen=True)
class Rhythm:
    """How often things happen, in steps."""

    log: int = 50
    checkpoint: int = 400


RHYTHM = Rhythm()


def save_atomically(state: object, path: Path) -> None:
    """A reader never sees half a file, and a kill while writing leaves the previous one."""
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    os.replace(partial, path)


def reporter(folder: Path) -> Callable[[str], None]:
    """Prints lines, and adds them to log.txt in the folder, which is created."""
    folder.mkdir(parents=True, exist_ok=True)

    def report(line: str) -> None:
        typer.echo(line)
        with (folder / "log.txt").open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    return report


def load_tensors(path: Path) -> Any:
    return torch.load(path, weights_only=True)


def learning_rate(step: int, settings: dict[str, Any]) -> float:
    """Linear warm-up, then cosine down to 3 %."""
    warm = min(1.0, (step + 1) / settings["warmup"])
    cosine = 0.5 * (1 + math.cos(math.pi * step / settings["steps"]))
    return float(settings["rate"] * warm * (0.03 + 0.97 * cosine))


def build_optimizer(stage: Stage) -> torch.optim.AdamW:
    """Weight decay on matrices only; groups remember their own scale of the learning rate."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in stage.modules.named_parameters():
        groups.setdefault((stage.rate_scale(name), parameter.ndim > 1), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": p, "scale": s, "weight_decay": 0.05 if decays else 0.0} for (s, decays), p in groups.items()],
        lr=stage.settings["rate"],
        betas=(0.9, 0.98),
        fused=True,
    )


def _merge(total: Tally, new: Tally) -> Tally:
    keys = total.keys() | new.keys()
    zero = (0, 0)
    return {k: (total.get(k, zero)[0] + new.get(k, zero)[0], total.get(k, zero)[1] + new.get(k, zero)[1]) for k in keys}


def _line(stage: Stage, step: int, loss: float, tally: Tally, seconds: float) -> str:
    accuracies = " ".join(f"{name} {hits / max(count, 1):.3f}" for name, (hits, count) in sorted(tally.items()))
    return f"{stage.name} {step}/{stage.settings['steps']} loss {loss:.4f} {seconds:.2f} s/step | {accuracies}"


def run(stage: Stage, checkpoint: Path, report: Callable[[str], None], rhythm: Rhythm = RHYTHM) -> None:
    """Train to the stage's last step, from the checkpoint if there is one."""
    optimizer, first = build_optimizer(stage), 0
    if checkpoint.exists():
        state = load_tensors(checkpoint)
        stage.modules.load_state_dict(state["modules"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    tally: Tally = {}
    losses, since = 0.0, time.monotonic()
    parameters = list(stage.modules.parameters())
    for step in range(first, stage.settings["steps"]):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, stage.settings) * group["scale"]
        loss, hits = stage.loss(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        done, tally, losses = step + 1, _merge(tally, hits), losses + loss.item()
        if done % rhythm.log == 0:
            report(_line(stage, done, losses / rhythm.log, tally, (time.monotonic() - since) / rhythm.log))
            tally, losses, since = {}, 0.0, time.monotonic()
        if done % rhythm.checkpoint == 0 or done == stage.settings["steps"]:
            state = {"modules": stage.modules.state_dict(), "optimizer": optimizer.state_dict(), "step": done}
            save_atomically(state, checkpoint)
