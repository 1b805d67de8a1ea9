"""Reads single rows the way `load_samples` does, for the tests of what columns mean."""

from typing import Any, NamedTuple

from probe.data.columns import Columns
from probe.data.fields import Fields, read_fields
from probe.data.images import EmbeddedImage
from probe.data.layouts import plain
from probe.data.reading import decide, image_columns

ONE = EmbeddedImage("row 1 image_1", bytes)
TWO = EmbeddedImage("row 1 image_2", bytes)


def read(row: dict[str, Any], columns: Columns = Columns()) -> Fields:  # noqa: B008 - frozen
    """Read a row the way `load_samples` does."""
    values = plain(row)
    complete = columns.completed(tuple(values), (), image_columns([values]))
    return read_fields(values, complete, decide([values], [complete], None)[0])[0]


class Expected(NamedTuple):
    """The expected fields of a row."""

    question: str
    answers: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()
    family: str | None = None
    id: str | None = None
    context: str | None = None
    instruction: str | None = None
    images: tuple[object, ...] = ("a.jpg",)
    turns: tuple[tuple[str, str], ...] = ()
    votes: tuple[int, ...] = ()
    videos: tuple[object, ...] = ()


SEED_BENCH = {
    **{"answer": "C", "choice_a": "One", "choice_b": "Two", "choice_c": "Three", "choice_d": "Four"},
    **{"data_id": "454426_2591111986", "data_type": "image", "question": "How many towels are there?"},
    **{"question_id": "101669", "question_type_id": 5, "image": ["a.jpg"]},
}
"""A row of SEED-Bench."""
