"""Trains a small model on drawn scenes; run again after a stop, it goes on from its last checkpoint.

    OMP_NUM_THREADS=1 python -m data_samples.making.training.train --config tiny-qwen2.5-vl --work DIR

DIR gets align.pt and answer.pt (checkpoints), log.txt, and model/ (the finished model).
"""

from pathlib import Path
from typing import Annotated

import torch
import typer

from data_samples.making.training.alignment import Alignment
from data_samples.making.training.answers import Answers
from data_samples.making.training.config import read_settings
from data_samples.making.training.export import export
from data_samples.making.training.learner import build_learner
from data_samples.making.training.loop import reporter, run
from data_samples.making.training.start import start_from


def main(
    config: Annotated[str, typer.Option(help="Name of a file in training/configs.")],
    work: Annotated[Path, typer.Option(help="Folder for checkpoints, log and the result.")],
    start: Annotated[Path | None, typer.Option(help="Folder of a saved model whose weights to start from.")] = None,
    threads: Annotated[int, typer.Option(help="Same number, same machine: same weights.")] = 1,
    compiled: Annotated[bool, typer.Option(help="Compile the decoder layers (needs a C++ compiler).")] = True,
) -> None:
    torch.set_num_threads(threads)
    report = reporter(work)
    learner = build_learner(read_settings(config))
    if start:
        start_from(learner, start)
    learner.model.train()
    alignment = Alignment(learner)
    run(alignment, work / "align.pt", report)
    alignment.rescale()
    if compiled:
        for layer in learner.model.model.language_model.layers:
            layer.compile(dynamic=False)
    run(Answers(learner), work / "answer.pt", report)
    export(learner, work / "model")


if __name__ == "__main__":
    typer.run(main)
