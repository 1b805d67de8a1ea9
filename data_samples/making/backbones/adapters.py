"""What is trained: the projector, and low-rank updates (LoRA) of all linear layers of the decoder.

    python -m data_samples.making.backbones.adapters --work DIR --output FOLDER

writes them out of the newest checkpoint in DIR, finished or not: adapters.safetensors, in bfloat16, and recipe.json,
which says how they were trained and on what bases.
"""

import importlib
import json
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import torch
import typer
from safetensors.torch import load_file, save_file
from torch import nn

from data_samples.making.backbones.bases import Bases
from data_samples.making.backbones.joined import Joined, join
from data_samples.making.backbones.repairable import repairable
from data_samples.making.training.loop import load_tensors
from halfv_core.errors import ModelError

WEIGHTS = "adapters.safetensors"
RECIPE = "recipe.json"
CHECKPOINT = "answer.pt"


class Adapted(NamedTuple):
    """A LLaVA with adapters in it."""

    modules: nn.ModuleDict
    """The trained modules, in float32: `projector`, and `lora`, by name."""
    wrapped: Any
    """The `peft.LoraModel` around the decoder."""


def add_adapters(model: Any, rank: int, alpha: int) -> Adapted:
    """Freeze a LLaVA and put adapters that do nothing yet into it; the same ones for the same seed of torch.

    Raises:
        ModelError: the package `peft` is missing.
    """
    try:
        peft: Any = importlib.import_module("peft")
    except ImportError:
        raise ModelError("adapters need the package peft", remedy="pip install peft") from None
    model.requires_grad_(False)
    config = peft.LoraConfig(r=rank, lora_alpha=alpha, target_modules="all-linear")
    wrapped = peft.LoraModel(model.model.language_model, config, "default")
    updates = {
        f"{name.replace('.', '/')}/{part[-1]}": getattr(layer, part)["default"]
        for name, layer in model.model.language_model.named_modules()
        for part in ("lora_A", "lora_B")
        if isinstance(layer, peft.tuners.lora.LoraLayer)
    }
    projector = model.model.multi_modal_projector.float().requires_grad_()
    modules = nn.ModuleDict({"projector": projector, "lora": nn.ModuleDict(updates).float()})
    return Adapted(modules, wrapped)


def join_adapters(bases: Bases, folder: Path) -> Joined:
    """A stock LLaVA out of bases and adapters, in the precision of the bases.

    Raises:
        ModelError: the adapters were trained on other bases, or there are none.
    """
    try:
        recipe = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
    except FileNotFoundError as missing:
        raise ModelError("no adapters in the folder", got=missing.filename or folder) from None
    for name, digest in recipe["sha256"].items():
        if bases.sha256[name] != digest:
            raise ModelError(
                f"the adapters were trained on another --{name}",
                got=f"sha256 {bases.sha256[name]}",
                expected=digest,
            )
    joined = join(bases)
    dtype = bases.decoder.dtype
    adapted = add_adapters(joined.model, recipe["settings"]["rank"], recipe["settings"]["alpha"])
    adapted.modules.load_state_dict(weights)
    joined.model.model.language_model = adapted.wrapped.merge_and_unload()
    joined.model.to(dtype).requires_grad_(False)
    return joined


def write_adapters(work: Path, output: Path) -> int:
    """Write the adapters of a training; returns the number of steps that they were trained for.

    Raises:
        ModelError: the training has no checkpoint with adapters yet.
    """
    if not (work / CHECKPOINT).exists():
        raise ModelError("no checkpoint with adapters", got=str(work), remedy="train longer")
    state = load_tensors(work / CHECKPOINT)
    recipe = json.loads((work / RECIPE).read_text(encoding="utf-8")) | {"step": state["step"]}
    output.mkdir(parents=True, exist_ok=True)
    weights = {name: value.to(torch.bfloat16) for name, value in state["modules"].items()}
    save_file(weights, output / WEIGHTS)
    (output / RECIPE).write_text(json.dumps(recipe, indent=1) + "\n", encoding="utf-8")
    return int(state["step"])


def main(
    work: Annotated[Path, typer.Option(help="Folder of the training.")],
    output: Annotated[Path, typer.Option(help="Folder to write.")],
) -> None:
    with repairable():
        steps = write_adapters(work, output)
    typer.echo(f"adapters after {steps} steps written to {output}")


if __name__ == "__main__":
    typer.run(main)
