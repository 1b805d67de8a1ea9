"""Calibration data: questions about images, read from wherever they are, with every row that cannot be used named.

samples = load_samples("scenes")
samples = load_samples("answers.parquet", columns=Columns(question="prompt"), images="pictures/")
samples.columns, samples.rejected   # how the data were read, and what was not
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, overload

from PIL import Image
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from halfv_core.bundled import BUNDLED
from halfv_core.errors import DataError, first_fault
from probe.data.columns import Columns
from probe.data.fields import LETTERS, Values, read_fields, unwrapped
from probe.data.images import Embedded, Picture, from_text, image_bytes, open_image
from probe.data.readers import Row, Source, open_table

BUNDLED_DATA: dict[str, Path] = {
    "scenes": BUNDLED / "scenes" / "calibration.jsonl",
    "scenes-heldout": BUNDLED / "scenes" / "heldout.jsonl",
    "photos": BUNDLED / "photos" / "photos.jsonl",
    "photos-video": BUNDLED / "photos" / "videos.jsonl",
}
"""Bundled name -> file."""

LETTER_INSTRUCTION = "Answer with the option's letter from the given choices directly."
"""Asked of multiple choice questions that bring no instruction of their own."""


class Sample(BaseModel):
    """One question about one or more images."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    id: str
    images: tuple[Picture, ...] = Field(validation_alias=AliasChoices("images", "image"), min_length=1)
    """In the order of the prompt; frames, where it is about a video."""
    question: str = Field(min_length=1)
    choices: tuple[str, ...] = ()
    """Of a multiple choice question, in the order of their letters."""
    context: str | None = None
    """Said before the question."""
    instruction: str | None = None
    """Said after it: how to answer."""
    answer: str | None = None
    """The reference answer; a letter where there are choices."""
    answers: tuple[str, ...] = ()
    """All references that are right, `answer` first."""
    votes: tuple[int, ...] = ()
    """How many annotators gave each of them, where any gave the same."""
    family: str | None = None
    """Kind of question."""

    @field_validator("id", "answer", mode="before")
    @classmethod
    def _numbers_are_text_too(cls, value: object) -> object:
        return str(value) if isinstance(value, int | float) else value

    @model_validator(mode="before")
    @classmethod
    def _one_answer_is_a_list_too(cls, values: dict[str, object]) -> dict[str, object]:
        answer, answers = values.get("answer"), values.get("answers")
        if answer is not None:
            return values if answers else values | {"answers": (str(answer),)}
        return values | {"answer": answers[0]} if isinstance(answers, list | tuple) and answers else values

    @property
    def prompt(self) -> str:
        """The text of the user's turn: context, question, lettered choices, instruction."""
        lettered = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, self.choices, strict=False)]
        instruction = self.instruction or (LETTER_INSTRUCTION if self.choices else None)
        return "\n".join(part for part in (self.context, self.question, *lettered, instruction) if part)

    def open_images(self) -> list[Image.Image]:
        """The images, decoded.

        Raises:
            DataError: one of them is missing or cannot be decoded.
        """
        return [open_image(picture) for picture in self.images]


class Rejected(NamedTuple):
    """A row that cannot be used."""

    label: str
    """Where it stands: line 7, row 12, or a sample's id."""
    reason: str

    @classmethod
    def because(cls, label: str, error: DataError | ValidationError) -> "Rejected":
        """In a line that any terminal and any file can hold, whatever the row says."""
        reason = first_fault(error) if isinstance(error, ValidationError) else str(error)
        return cls(_line(label, 80), _line(reason, 300))

    def __str__(self) -> str:
        return f"{self.label}: {self.reason}"


def _line(text: str, longest: int) -> str:
    shown = "".join(letter if letter.isprintable() else " " if letter.isspace() else "?" for letter in text)
    return shown if len(shown) <= longest else shown[: longest - 3] + "..."


class Samples(Sequence[Sample]):
    """The samples of a data set in order, how its columns were read, and the rows that cannot be used."""

    def __init__(self, samples: Sequence[Sample], columns: Columns, rejected: Sequence[Rejected]) -> None:
        self._samples = tuple(samples)
        self.columns = columns
        self.rejected = tuple(rejected)

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
    fetch_images: bool = False,
) -> Samples:
    """All samples of a data set.

    Args:
        data: a bundled name, a file (.jsonl, .json, .csv, .tsv, .parquet), a folder (images with captions, Parquet
            shards, or one written by save_to_disk), or the name of a data set on the hub.
        columns: which column holds what, where the guess from common layouts is wrong.
        images: folder that relative paths of images start from; by default the data's own.
        split, subset: of a data set that has several.
        instruction: said after every question that has none of its own.
        fetch_images: download images that are given as URLs, when they are opened.

    Raises:
        DataError: the data cannot be read, hold no rows, or too few good ones (see `check_enough`); or bundled
            data are not installed.
    """
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
    base = Path(images) if images is not None else table.base
    rows = [(row, unwrapped(row.values)) for row in table.rows]
    if not rows:
        raise DataError(f"{data} holds no samples")
    names = tuple(dict.fromkeys(name for _, values in rows for name in values))
    if names:
        columns.check(names)
    guessed: dict[str, str] = {}
    found: dict[str, Sample] = {}
    rejected: list[Rejected] = []
    for row, values in rows:
        try:
            complete = columns.completed(tuple(values), names)
            sample = _sample(row, values, complete, base, fetch_images, instruction)
        except (DataError, ValidationError) as error:
            rejected.append(Rejected.because(row.label, error))
            continue
        while sample.id in found:
            sample = sample.model_copy(update={"id": f"{sample.id}@{row.number}"})
        found[sample.id] = sample
        guessed = complete.given() | guessed
    check_enough(
        f"rows of {data}", len(found), rejected, "name the columns with --column FIELD=COLUMN, or mend the rows"
    )
    return Samples(tuple(found.values()), Columns(**guessed), rejected)


def _sample(
    row: Row, values: Values, columns: Columns, base: Path, fetch_images: bool, instruction: str | None
) -> Sample:
    """Raises DataError or ValidationError where the row is no sample."""
    if row.fault:
        raise DataError(row.fault)
    fields = read_fields(values, columns)
    images = tuple(
        image if isinstance(image, Embedded) else from_text(image, base, fetch_images) for image in fields.images
    )
    return Sample(
        id=fields.id or str(row.number),
        images=images,
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
"""Rejected rows that a message names."""

ENOUGH = 100
"""Good rows from which on any number of bad ones is passed over: text-only questions, say, among those with images."""


def check_enough(what: str, good: int, rejected: Sequence[Rejected], remedy: str) -> None:
    """Go on without the rejected rows as long as the good ones are more, or `ENOUGH`.

    Raises:
        DataError: they are neither.
    """
    if rejected and good <= len(rejected) and good < ENOUGH:
        shown, more = rejected[:SHOWN], f" and {len(rejected) - SHOWN} more" if len(rejected) > SHOWN else ""
        if len({row.reason for row in rejected}) == 1:
            got = f"{', '.join(row.label for row in shown)}{more}: {rejected[0].reason}"
        else:
            got = "; ".join(map(str, shown)) + more
        raise DataError(f"{len(rejected)} of {good + len(rejected)} {what} cannot be used", got=got, remedy=remedy)


def data_fingerprint(samples: Sequence[Sample]) -> str:
    """sha256 over ids, prompts, answers with their votes, and image files, in order."""
    digest = hashlib.sha256()
    for sample in samples:
        row = [sample.id, sample.prompt, sample.answers, len(sample.images), *([sample.votes] if sample.votes else [])]
        digest.update(json.dumps(row).encode())
        for picture in sample.images:
            digest.update(hashlib.sha256(image_bytes(picture)).digest())
    return digest.hexdigest()
