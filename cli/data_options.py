"""Options for the source of the samples and how to read them, for all commands that take data."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from cli.common import stderr
from cli.ranks import processes

if TYPE_CHECKING:
    from halfv_core.processors import PromptProcessor
    from probe.data.samples import Sample, Samples

DataOption = Annotated[
    str,
    typer.Option(
        "--data",
        help="Bundled name (scenes, photos, photos-video), JSONL, JSON, CSV, TSV, Parquet, folder of images or videos "
        "with captions, folder made by save_to_disk, or data set name on the hub.",
    ),
]

FRAMES = 8
"""As `probe.data.videos.FRAMES`, which takes a second to import."""

FramesOption = Annotated[
    int,
    typer.Option(
        "--frames", min=1, max=1000, help="Frames of each video that are used, from the first to the last one."
    ),
]


@dataclass(frozen=True)
class ReadingOptions:
    """Options for reading data."""

    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            help="FIELD=COLUMN where the guess is wrong (FIELD= for none), repeatable; fields: id, image, video, "
            "question, answer, choices, family, context, instruction, caption, conversation.",
        ),
    ] = None
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            help="Folder that the data's paths of images and videos start from. [default: the folder of the data]",
        ),
    ] = None
    split: Annotated[
        str | None, typer.Option("--split", help="Split of the data set. [default: test, if there is one]")
    ] = None
    subset: Annotated[str | None, typer.Option("--subset", help="Configuration of a hub data set.")] = None
    instruction: Annotated[
        str | None, typer.Option("--instruction", help="Said after each question: how to answer it.")
    ] = None
    answers_are: Annotated[
        Literal["letter", "text", "index0", "index1"] | None,
        typer.Option(
            "--answers-are",
            help="What the answers to multiple choice questions are: letters, texts, indices from 0 or from 1. "
            "[default: what fits most rows]",
        ),
    ] = None
    questions: Annotated[
        Literal["first", "last", "all"],
        typer.Option(
            "--questions",
            help="Which questions of a conversation are asked, the last one and all of them after everything that was "
            "said before.",
        ),
    ] = "first"
    fetch_images: Annotated[
        bool,
        typer.Option("--fetch-images", help="Download images that the data give as URLs, from public addresses."),
    ] = False
    frames: FramesOption = FRAMES

    def read(self, data: str) -> "Samples":
        """Read the samples of `data`.

        Report on stderr what was chosen for the user, how many rows cannot be used, and the first of them.

        Raises:
            DataError: see `probe.load_samples`.
        """
        from probe.data.columns import Columns
        from probe.data.samples import load_samples

        if self.fetch_images:
            from probe.data.download import folder, use_folder

            use_folder(processes().of_machine(folder))
        samples = load_samples(
            data,
            columns=Columns.from_pairs(self.column or []),
            images=self.images,
            split=self.split,
            subset=self.subset,
            instruction=self.instruction,
            answers=self.answers_are,
            questions=self.questions,
            fetch_images=self.fetch_images,
            frames=self.frames,
        )
        for note in samples.notes:
            stderr.print(f"{data}: {note}")
        print_rejected(samples.rejected, len(samples) + len(samples.rejected))
        return samples


def print_frames(processor: "PromptProcessor", samples: Sequence["Sample"]) -> None:
    """Say it if the frames of the samples' videos are given to the model as images."""
    from probe.data.inputs import frames_as_images

    if note := frames_as_images(processor, samples):
        stderr.print(note, markup=False, highlight=False)


def print_rejected(rejected: Sequence[object], rows: int) -> None:
    """Print the number of rejected rows, and one line for each of the first."""
    from probe.data.samples import SHOWN

    if not rejected:
        return
    stderr.print(f"{len(rejected)} of {rows} rows cannot be used:")
    for row in rejected[:SHOWN]:
        stderr.print(f"  {row}")
    if len(rejected) > SHOWN:
        stderr.print(f"  and {len(rejected) - SHOWN} more")
