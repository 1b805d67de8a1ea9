"""Writes bases and adapters joined, as a folder that loads like any LLaVA checkpoint, and the recipe beside them.

python -m data_samples.making.backbones.join --vision PATH --llm PATH --adapters FOLDER --output FOLDER
"""

import shutil
from pathlib import Path
from typing import Annotated

import torch
import typer

from data_samples.making.backbones.adapters import RECIPE, join_adapters
from data_samples.making.backbones.bases import load_bases
from data_samples.making.backbones.repairable import repairable


def main(
    vision: Annotated[Path, typer.Option(help="Folder of a DINOv2, or an ONNX file.")],
    llm: Annotated[Path, typer.Option(help="Folder of a causal language model, or a GGUF file.")],
    adapters: Annotated[Path, typer.Option(help="Folder of the adapters.")],
    output: Annotated[Path, typer.Option(help="Folder to write.")],
    dtype: Annotated[str, typer.Option(help="Precision of the checkpoint.")] = "bfloat16",
) -> None:
    with repairable():
        joined = join_adapters(load_bases(vision, llm), adapters)
    joined.model.to(getattr(torch, dtype)).save_pretrained(output)
    joined.processor.save_pretrained(output)
    shutil.copy(adapters / RECIPE, output)
    typer.echo(f"written to {output}")


if __name__ == "__main__":
    typer.run(main)
