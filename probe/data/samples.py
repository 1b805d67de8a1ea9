"""Loads calibration data, questions about images and videos, and reports every row that cannot be used.

samples = load_samples("scenes")
samples = load_samples("answers.parquet", columns=Columns(question="prompt"), images="pictures/")
samples.columns, samples.rejected   # how the columns were read, and which rows were not used
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, overload

from pydantic import ValidationError

from halfv_core.bundled import BUNDLED
from halfv_core.errors import DataError, first_fault, shortened
from probe.data.answers import Meaning
from probe.data.columns import Columns
from probe.data.fields import Fields, read_fields
from probe.data.images import EmbeddedImage, from_text, image_bytes, resolved
from probe.data.layouts import plain
from probe.data.readers import Row, Source, open_table
from probe.data.reading import decide, image_columns, parents_of, with_shared_images
from probe.data.sample import Sample as Sample
from probe.data.sample import Turn as Turn
from probe.data.splits import rows_of_split
from probe.data.turns import Which
from probe.data.video_decoding import check_decoder
from probe.data.videos import FRAMES, VideoFile, find_video

BUNDLED_DATA: dict[str, Path] = {
    "scenes": BUNDLED / "scenes" / "calibration.jsonl",
    "scenes-heldout": BUNDLED / "scenes" / "heldout.jsonl",
    "photos": BUNDLED / "photos" / "photos.jsonl",
    "photos-video": BUNDLED / "photos" / "videos.jsonl",
}
"""Bundled name -> file."""


class Rejected(NamedTuple):
    """A row that cannot be used."""

    label: str
    """Which row: line 7, row 12, or a sample's id."""
    reason: str

    @classmethod
    def because(cls, label: str, error: DataError | ValidationError) -> "Rejected":
        """Make label and reason one line of limited length, in printable characters, whatever the row contains."""
        reason = first_fault(error) if isinstance(error, ValidationError) else str(error)
        return cls(_printable(label, 80), _printable(reason, 300))

    def __str__(self) -> str:
        return f"{self.label}: {self.reason}"


def _printable(text: str, max_length: int) -> str:
    shown = "".join(letter if letter.isprintable() else " " if letter.isspace() else "?" for letter in text)
    return shortened(shown, max_length)


class Samples(Sequence[Sample]):
    """The samples of a data set in order, with how they were read and the rows that were rejected."""

    def __init__(
        self,
        samples: Sequence[Sample],
        columns: Columns,
        rejected: Sequence[Rejected],
        notes: Sequence[str] = (),
        answers: Meaning | None = None,
    ) -> None:
        self._samples = tuple(samples)
        self.columns = columns
        """The columns they were read from."""
        self.rejected = tuple(rejected)
        self.notes = tuple(notes)
        """What was chosen for the user and may be wrong: a split, the meaning of a column."""
        self.answers = answers
        """What the answers to multiple choice questions were read as; None if there are none."""

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        return self._samples[index]

    def __len__(self) -> int:
        return len(self._samples)


def load_samples(
    data: str | Path,
    *,
    columns: Columns = Columns(),  # noqa: B008 - frozen
    images: str | Path | None = None,
    split: str | None = None,
    subset: str | None = None,
    instruction: str | None = None,
    answers: Meaning | None = None,
    questions: Which = "first",
    fetch_images: bool = False,
    frames: int = FRAMES,
) -> Samples:
    """Load all samples of a data set.

    Args:
        data: a bundled name, a file (.jsonl, .json, .csv, .tsv, .parquet), a folder (images or videos with captions,
            Parquet shards, or one written by save_to_disk), or the name of a data set on the hub.
        columns: which column holds which field, where the guess from common layouts is wrong.
        images: folder that relative paths of images and videos start from, besides the folder of the data; those in
            any other folder are refused.
        split, subset: which part to load of a data set that has several.
        instruction: text after every question that has no instruction of its own.
        answers: what the answers to multiple choice questions are; by default, what fits most rows.
        questions: of a conversation, the `first` question, the `last` one, or `all`, one sample for each. The last one
            and all of them are asked after everything that was said before.
        fetch_images: whether images given as URLs are downloaded when they are opened, from public addresses.
        frames: how many frames of each video are used, at equal distances.

    Raises:
        DataError: the data cannot be read, or have no rows or too few usable ones (see `check_enough`); their answers
            to multiple choice questions can be read in two ways; they have video files, but PyAV is not installed; or
            bundled data are not installed.
    """
    _check_folder(images)
    if frames < 1:
        raise DataError("at least one frame of a video is needed", got=frames)
    bundled = BUNDLED_DATA.get(str(data))
    if bundled is not None and not bundled.is_file():
        raise DataError(
            f"the bundled data '{data}' are not installed: no file {bundled}", remedy="reinstall halfv-probe"
        )
    source = Source(
        str(bundled or data),
        split=split,
        subset=subset,
        expected=f"one of {', '.join(BUNDLED_DATA)}, a JSONL, JSON, CSV, TSV or Parquet file, a folder",
    )
    table = open_table(source)
    rows = list(table.rows)
    if not rows:
        raise DataError(f"{data} holds no samples")
    chosen, note = rows_of_split(source.location, [row.values for row in rows], table.split)
    rows = [row for row, is_read in zip(rows, chosen, strict=True) if is_read]
    values = [plain(row.values) for row in rows]
    names = tuple(dict.fromkeys(name for one in values for name in one))
    if names:
        columns.check(names)
    with_images = image_columns(values)
    complete = [columns.completed(tuple(one), names, with_images) for one in values]
    values = with_shared_images(values, complete)
    meanings, guess = decide(values, complete, answers)
    folders = [Path(folder) for folder in (images, table.base) if folder is not None]
    guessed: dict[str, str] = {}
    samples: dict[str, Sample] = {}
    rejected: list[Rejected] = []
    for row, one, column in zip(rows, values, complete, strict=True):
        try:
            if row.fault:
                raise DataError(row.fault)
            asked = [
                _sample(row, fields, _Places(folders, parents_of(one, column), fetch_images), frames, instruction)
                for fields in read_fields(one, column, meanings, questions)
            ]
        except (DataError, ValidationError) as error:
            rejected.append(Rejected.because(row.label, error))
            continue
        for number, sample in enumerate(asked, start=1):
            name = sample.id if number == 1 else f"{sample.id}.{number}"
            while name in samples:
                name = f"{name}@{row.number}"
            samples[name] = sample.model_copy(update={"id": name})
        guessed = column.given() | guessed
    if any(isinstance(video, VideoFile) for sample in samples.values() for video in sample.videos):
        check_decoder()
    check_enough(
        f"rows of {data}", len(samples), rejected, "name the columns with --column FIELD=COLUMN, or mend the rows"
    )
    return Samples(
        tuple(samples.values()),
        Columns(**guessed),
        rejected,
        [one for one in (table.note, note, guess) if one],
        meanings.answers.get(guessed.get("answer", "")),
    )


def _check_folder(images: str | Path | None) -> None:
    if images is not None and not os.path.isdir(images):  # noqa: PTH112 - no error for what can be no path
        raise DataError("--images is not a folder", got=str(images), expected="the folder that image paths start from")


class _Places(NamedTuple):
    """Where images and videos may be."""

    folders: Sequence[Path]
    parents: Sequence[str]
    """Folders inside of these that a row's files may be in."""
    fetch: bool


def _sample(row: Row, fields: Fields, places: _Places, frames: int, instruction: str | None) -> Sample:
    """Build a sample from the fields of a row; raises DataError or ValidationError if they cannot be used."""
    folders, parents, fetch = places
    images = tuple(
        resolved(image, folders, fetch)
        if isinstance(image, EmbeddedImage)
        else from_text(image, folders, fetch, parents)
        for image in fields.images
    )
    return Sample(
        id=fields.id or str(row.number),
        images=images,
        videos=tuple(find_video(video, folders, fetch, parents, frames) for video in fields.videos),
        turns=tuple(Turn(role=role, text=text) for role, text in fields.turns),
        question=fields.question,
        choices=fields.choices,
        context=fields.context,
        instruction=fields.instruction or instruction,
        answer=fields.answers[0] if fields.answers else None,
        answers=fields.answers,
        family=fields.family,
        votes=fields.votes,
    )


SHOWN = 3
"""Number of rejected rows that an error message names."""

ENOUGH_ROWS = 100
"""With this many good rows, any number of bad ones is ignored, such as text-only questions among those with images."""


def check_enough(what: str, good: int, rejected: Sequence[Rejected], remedy: str) -> None:
    """Check that the good rows outnumber the rejected ones, or are at least `ENOUGH_ROWS`.

    Args:
        what: what the rows are, for the message.
        good: number of good rows.
        remedy: what the user can do about the rejected rows.

    Raises:
        DataError: there are too few good rows.
    """
    if rejected and good <= len(rejected) and good < ENOUGH_ROWS:
        shown, more = rejected[:SHOWN], f" and {len(rejected) - SHOWN} more" if len(rejected) > SHOWN else ""
        if len({row.reason for row in rejected}) == 1:
            got = f"{', '.join(row.label for row in shown)}{more}: {rejected[0].reason}"
        else:
            got = "; ".join(map(str, shown)) + more
        raise DataError(f"{len(rejected)} of {good + len(rejected)} {what} cannot be used", got=got, remedy=remedy)


def data_fingerprint(samples: Sequence[Sample]) -> str:
    """SHA-256 over the ids, conversations, answers with votes, image and video files of the samples, in order."""
    digest = hashlib.sha256()
    for sample in samples:
        row = [sample.id, sample.text, sample.answers, len(sample.images), *([sample.votes] if sample.votes else [])]
        digest.update(json.dumps(row).encode())
        for picture in sample.images:
            digest.update(hashlib.sha256(image_bytes(picture)).digest())
        for video in sample.videos:
            digest.update(json.dumps(["video", video.frames]).encode())
            video.update(digest)
    return digest.hexdigest()
