"""What the entropy curves of one sample cost, beside decomposing every Gram matrix in float64.

    python -m data_samples.studies.entropy_benchmark

Both take turns on the same states, and the best time of each counts. Prints a table, and writes
docs/benchmarks/entropy.json and the table of docs/benchmarks.md.
"""

import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Annotated, Any, NamedTuple

import torch
import typer

from cli.common import load_quietly, stdout
from data_samples.studies.tables import RECORDS, write_table
from halfv_core.devices import processor_name
from halfv_core.profile import write_atomically
from probe import entropy_curves, load_samples
from probe.analyzers.tme import TokenGroups
from probe.capture.hidden_states import capture
from probe.data.inputs import inputs_of

COMMAND = "python -m data_samples.studies.entropy_benchmark"
OUTPUT = RECORDS / "entropy.json"


class Case(NamedTuple):
    """States to measure."""

    name: str
    hidden: torch.Tensor
    """(layers, N, D)."""
    visual: torch.Tensor
    """(N,) bool."""
    turns: int


def decomposed(hidden: torch.Tensor, visual: torch.Tensor, k: int = 50) -> TokenGroups:
    """The same curves as they were computed before: float64, one matrix at a time, every eigenvalue."""
    groups = (visual, ~visual, torch.ones_like(visual))
    rows = [[_decomposed(layer[group], k) for group in groups] for layer in hidden]
    return TokenGroups(*(torch.stack(column) for column in zip(*rows, strict=True)))


def _decomposed(tokens: torch.Tensor, k: int) -> torch.Tensor:
    if not tokens.isfinite().all():
        raise ValueError("hidden states are not finite")
    shifted = tokens.double() - tokens[:1].double()
    centred = shifted - shifted.mean(0)
    centred = centred / centred.abs().max().clamp(min=torch.finfo(torch.float64).tiny)
    gram = centred @ centred.T if len(centred) <= centred.shape[1] else centred.T @ centred
    top = torch.linalg.eigvalsh(gram).flip(0)[:k].clamp(min=0)
    return torch.special.entr(top / top.sum()).sum().cpu()


def cases(device: str) -> Iterator[Case]:
    """Real states of a bundled model, and synthetic ones of the shapes of published models."""
    yield _bundled("tiny-qwen2.5-vl", device)
    yield _synthetic("LLaVA-1.5-7B", 576, 60, 4096, (0.5, 1.0, 1.5, 2.0), 6, device)
    yield _synthetic("Qwen2.5-VL-7B", 2500, 60, 3584, (0.5, 1.0, 1.5), 2, device)
    yield _synthetic("Qwen2.5-VL-7B, long video", 20000, 60, 3584, (1.0,), 1, device)


def _bundled(name: str, device: str) -> Case:
    loaded = load_quietly(name, "auto", device, False)
    sample = load_samples("scenes")[0]
    states = capture(loaded.model, inputs_of(loaded.processor, sample, loaded.model.device))
    return Case(f"{name}, a scene", states.hidden, states.visual, 20)


def _synthetic(
    name: str, visual: int, text: int, width: int, powers: tuple[float, ...], turns: int, device: str
) -> Case:
    """A layer for each power: eigenvalue i about i ** -power, in random directions, and a common offset."""
    generator = torch.Generator().manual_seed(0)
    many = visual + text
    size = min(many, width)
    directions = torch.linalg.qr(torch.randn(width, size, generator=generator)).Q.T  # (size, D)
    hidden = torch.empty(len(powers), many, width)  # (layers, N, D)
    for layer, power in zip(hidden, powers, strict=True):
        deviations = torch.arange(1, size + 1) ** (-power / 2)
        torch.mm(torch.randn(many, size, generator=generator) * deviations, directions, out=layer)
        layer += torch.randn(width, generator=generator)
    mask = torch.arange(many) < visual
    return Case(f"{name}, synthetic", hidden.to(device), mask.to(device), turns)


def measure(case: Case) -> dict[str, Any]:
    """Both ways in turn."""
    before, after = [], []
    for _ in range(case.turns):
        wanted, seconds = _timed(decomposed, case)
        before.append(seconds)
        found, seconds = _timed(entropy_curves, case)
        after.append(seconds)
    off = max((x - y).abs().max().item() for x, y in zip(found, wanted, strict=True))
    layers, tokens, width = case.hidden.shape
    return {
        "case": case.name,
        "layers": layers,
        "visual_tokens": int(case.visual.sum()),
        "text_tokens": tokens - int(case.visual.sum()),
        "width": width,
        "threads": torch.get_num_threads(),
        "turns": case.turns,
        "before_ms_a_layer": round(1e3 * min(before) / layers, 2),
        "after_ms_a_layer": round(1e3 * min(after) / layers, 2),
        "ratio": round(min(before) / min(after), 2),
        "ratio_of_each_turn": [round(x / y, 2) for x, y in zip(before, after, strict=True)],
        "largest_error_nats": off,
    }


def _timed(curves: Callable[[torch.Tensor, torch.Tensor], TokenGroups], case: Case) -> tuple[TokenGroups, float]:
    began = time.perf_counter()
    found = curves(case.hidden, case.visual)  # on the CPU, so nothing is left running
    return found, time.perf_counter() - began


def table(results: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| states | layers | visual + text tokens | width | threads | ms/layer before | after | ratio | error, nats |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in results:
        shape = f"{one['layers']} | {one['visual_tokens']} + {one['text_tokens']} | {one['width']}"
        cost = f"{one['before_ms_a_layer']:.4g} | {one['after_ms_a_layer']:.4g} | {one['ratio']:.1f}x"
        lines.append(f"| {one['case']} | {shape} | {one['threads']} | {cost} | {one['largest_error_nats']:.0e} |")
    return "\n".join(lines) + "\n"


def main(
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    threads: Annotated[list[int] | None, typer.Option(help="May be repeated. [default: 1, and all cores]")] = None,
) -> None:
    """Compare the two on every case."""
    counts = threads or sorted({1, torch.get_num_threads()})
    results = []
    for case in cases(device):
        for count in counts:
            torch.set_num_threads(count)
            results.append(measure(case))
            stdout.print(f"{case.name}, {count} threads: {results[-1]['ratio']}x", highlight=False)
        torch.set_num_threads(max(counts))
    found = {
        "load_at_the_end": getattr(os, "getloadavg", lambda: ())(),  # others' work as well as this one's
        "cores": os.cpu_count(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else processor_name(),
        "torch": version("torch"),
        "python": platform.python_version(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "results": results,
    }
    write_atomically(OUTPUT, json.dumps(found, indent=1) + "\n")
    write_table(COMMAND, table(results))
    stdout.print(table(results), soft_wrap=True, markup=False, highlight=False)


if __name__ == "__main__":
    typer.run(main)
