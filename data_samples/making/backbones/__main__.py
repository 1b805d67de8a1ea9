"""Trains projector and adapters between two pretrained parts; run again after a stop, it goes on from its checkpoint.

    OMP_NUM_THREADS=1 python -m data_samples.making.backbones --vision PATH --llm PATH --output DIR [--cutouts FOLDER]

DIR gets recipe.json (settings, and sha256 of the bases and of the cut-outs), align.pt and answer.pt (checkpoints),
log.txt, and adapters/, which `data_samples.making.backbones.join` joins with the bases again. Nothing is downloaded.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from data_samples.making.backbones.adapters import RECIPE, write_adapters
from data_samples.making.backbones.bases import Bases, load_bases
from data_samples.making.backbones.learner import train
from data_samples.making.backbones.repairable import repairable
from data_samples.making.composed.cutouts import Cutouts, read_cutouts
from data_samples.making.training.loop import reporter
from halfv_core.errors import ModelError
from halfv_core.files import write_atomically

SETTINGS = Path(__file__).parent / "settings.json"


def main(
    vision: Annotated[Path, typer.Option(help="Folder of a DINOv2, or an ONNX file.")],
    llm: Annotated[Path, typer.Option(help="Folder of a causal language model, or a GGUF file.")],
    output: Annotated[Path, typer.Option(help="Folder for checkpoints, log and adapters.")],
    settings: Annotated[Path, typer.Option(help="JSON with the settings.")] = SETTINGS,
    dtype: Annotated[str, typer.Option(help="Precision of the bases.")] = "bfloat16",
    threads: Annotated[int, typer.Option(help="Same number, same machine: same weights.")] = 1,
    cutouts: Annotated[
        list[Path] | None, typer.Option(help="Folder of captioned PNG cut-outs; may be given several times.")
    ] = None,
) -> None:
    torch.set_num_threads(threads)
    report = reporter(output)
    with repairable():
        pictures = read_cutouts(cutouts) if cutouts else None
        if pictures:
            report(str(pictures))
        values = read_settings(settings, composed=bool(pictures))
        bases = load_bases(vision, llm, getattr(torch, dtype))
        note_recipe(output, bases, pictures, values, dtype)
        train(bases, values, output, report, cutouts=pictures)
        write_adapters(output, output / "adapters")


def read_settings(path: Path, composed: bool) -> dict[str, Any]:
    """The settings that count: those about composed pictures only if there are any."""
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if not composed:
        for name in ("composed_share", "composed"):
            values["answer"].pop(name, None)
    return values


def note_recipe(output: Path, bases: Bases, cutouts: Cutouts | None, values: dict[str, Any], dtype: str) -> None:
    """Write down what is trained, and on what.

    Raises:
        ModelError: what was begun here has other settings, other bases or other cut-outs.
    """
    sources = {"cutouts": cutouts and cutouts.sha256, "sha256": bases.sha256}
    recipe = sources | {"settings": values, "dtype": dtype}
    path = output / RECIPE
    if path.exists():
        begun = json.loads(path.read_text(encoding="utf-8"))
        changed = [name for name, value in recipe.items() if begun.get(name) != value]
        if changed:
            raise ModelError(f"the training in {output} has other {changed[0]}", remedy="give another --output")
        return
    versions = {name: version(name) for name in ("torch", "transformers", "peft")}
    write_atomically(path, json.dumps(recipe | {"versions": versions}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
