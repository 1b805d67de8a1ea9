"""Accuracy of a joined model on composed pictures of cut-outs that it was not trained on, with and without the picture.

    python -m data_samples.making.backbones.held_out MODEL --cutouts FOLDER [--blank]

Prints a Markdown table by family. The same cut-outs are held out in each training, by their captions.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer
from PIL import Image

from cli.common import load_quietly, progress_bar
from data_samples.making.backbones.repairable import repairable
from data_samples.making.composed.cutouts import Cutouts, read_cutouts
from data_samples.making.composed.samples import one_question_each
from data_samples.making.generator.drawing import SIZE
from data_samples.making.training.evaluate import markdown
from halfv_core import Plan
from probe.common.progress import counter
from probe.data.samples import Sample
from probe.evaluation.evaluate import Evaluation, evaluate

GREY = (128, 128, 128)


def main(
    model: Annotated[str, typer.Argument(help="Folder of a joined model.")],
    cutouts: Annotated[list[Path], typer.Option(help="Folder of cut-outs; may be given several times.")],
    blank: Annotated[bool, typer.Option(help="Grey pictures instead.")] = False,
    samples: Annotated[int, typer.Option(help="Number of questions.")] = 300,
    seed: int = 0,
    threads: int = 1,
) -> None:
    torch.set_num_threads(threads)
    with repairable(), TemporaryDirectory() as folder:
        asked = held_out_samples(read_cutouts(cutouts), samples, seed, Path(folder), blank)
        found = answered(model, asked)
    typer.echo(markdown(asked, found))


def held_out_samples(cutouts: Cutouts, count: int, seed: int, folder: Path, blank: bool) -> list[Sample]:
    """Questions about pictures of held-out cut-outs, which are written into a folder.

    Args:
        blank: whether a grey picture takes the place of each; the questions stay the same.
    """
    samples = []
    for k, (image, question) in enumerate(one_question_each(cutouts.held_out, count, seed)):
        path = folder / f"{k:04d}.png"
        (Image.new("RGB", (SIZE, SIZE), GREY) if blank else image).save(path)
        text = {"question": question.text, "answer": question.answer, "family": question.family}
        samples.append(Sample.model_validate({"id": path.stem, "images": (path,)} | text))
    return samples


def answered(model: str, samples: list[Sample]) -> Evaluation:
    """Greedy answers to all samples, compared with the right ones."""
    loaded = load_quietly(model, "auto", "auto", False)
    with progress_bar() as report:
        on_sample = counter(report, "answering", len(samples))
        return evaluate(loaded.model, loaded.processor, samples, Plan(()), on_sample=on_sample)


if __name__ == "__main__":
    typer.run(main)
