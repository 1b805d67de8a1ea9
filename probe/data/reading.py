"""What is decided by looking at all rows of a data set, before any of them becomes a sample.

Which columns hold images themselves, what the answers to multiple choice questions are, whether captions are statements
with a truth value, how texts count the images, and which rows name the image of another row.
"""

import re
from collections import defaultdict
from collections.abc import Sequence

from halfv_core.errors import DataError
from probe.data.answers import Choice, Meaning, decide_meaning
from probe.data.choices import read_choices
from probe.data.columns import Columns
from probe.data.fields import ColumnMeanings, truth_of
from probe.data.images import EmbeddedImage
from probe.data.values import Values, cell, cells, present, text_of

_FIRST_IS_ZERO = re.compile(r"<image[ _]?0>", re.IGNORECASE)


def image_columns(rows: Sequence[Values]) -> tuple[str, ...]:
    """The columns that hold images themselves in some row."""
    found: dict[str, None] = {}
    for values in rows:
        for name, value in values.items():
            listed = value if isinstance(value, list) else [value]
            if any(isinstance(one, EmbeddedImage | bytes) for one in listed):
                found[name] = None
    return tuple(found)


def with_shared_images(rows: Sequence[Values], columns: Sequence[Columns]) -> list[Values]:
    """Fill in images that are named by the id of another row, as VLMEvalKit's TSV files do to keep an image once.

    A short number is such an id only if the row of that id has an image that is not one.
    """
    named: dict[str, str] = {}
    for values, column in zip(rows, columns, strict=True):
        image, name = cell(values, column.image), text_of(cell(values, column.id))
        if name is not None and isinstance(image, str) and not _may_be_id(image):
            named.setdefault(name, image)

    def filled(values: Values, column: Columns) -> Values:
        image = cell(values, column.image)
        key = str(image) if isinstance(image, int) else image
        if not column.image or not isinstance(key, str) or not _may_be_id(key) or key not in named:
            return values
        return {**values, column.image: named[key]}

    return [filled(values, column) for values, column in zip(rows, columns, strict=True)]


def _may_be_id(text: str) -> bool:
    return len(text) <= 64 and text.strip().isdecimal()


def decide(rows: Sequence[Values], columns: Sequence[Columns], answers: Meaning | None) -> tuple[ColumnMeanings, str]:
    """What the columns mean over all rows.

    Args:
        rows: the values of all rows.
        columns: the columns of each row.
        answers: what the answers to multiple choice questions are, if the user said it.

    Returns:
        The meanings, and a note for the user where one of them was a guess ("" otherwise).

    Raises:
        DataError: answers fit two meanings equally well.
    """
    column_rows: dict[str, list[Choice]] = defaultdict(list)
    truths: list[bool | None] = []
    zero = False
    for values, column in zip(rows, columns, strict=True):
        choices = _choices(values, column)
        if choices and column.answer:
            column_rows[column.answer].append(choices)
        if column.caption and not column.question and not column.conversation:
            truths += [truth_of(value) for value in present(cells(values, column.answer))[:1]]
        zero = zero or any(_FIRST_IS_ZERO.search(str(values.get(name))) for name in _texts(column))
    meanings: dict[str, Meaning | None] = {}
    notes = []
    for name, found in column_rows.items():
        meaning, note = (answers, None) if answers else decide_meaning(name, found)
        meanings[name] = meaning
        notes += [note] if note else []
    statements = bool(truths) and None not in truths
    return ColumnMeanings(meanings, statements, 0 if zero else 1), "; ".join(notes)


def _texts(columns: Columns) -> list[str]:
    """The columns that may refer to images."""
    names = (columns.question, columns.context, columns.choices, columns.conversation)
    return [name for name in names if name]


def _choices(values: Values, columns: Columns) -> Choice | None:
    """The choices of a row with its stored answers; None if it has none, or some that cannot be read."""
    try:
        choices = read_choices(values, columns.choices)
    except DataError:
        return None
    return Choice(cells(values, columns.answer), choices) if choices.texts else None


def parents_of(values: Values, columns: Columns) -> list[str]:
    """Folders that a row's image may be in below the data's: its id, its split, or both (ScienceQA)."""
    parts = [text_of(cell(values, columns.id)), text_of(values.get("split"))]
    name, split = ("" if part is None or re.search(r"[/\\]|^\.", part) else part for part in parts)
    return list(dict.fromkeys(filter(None, (name, split, f"{split}/{name}" if split and name else ""))))
