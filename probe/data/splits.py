"""Splits of a data set: which one is read where several lie together, and what the user is told about it."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from halfv_core.errors import DataError

SPLITS = ("test", "testmini", "validation", "val", "dev", "minival", "train")
"""Order of preference if no split is named; calibration should use data that the model was not trained on."""

_COLUMNS = ("split", "set_name", "data_split")
_NAME = re.compile(
    r"(?:train|restval|val|valid|validation|dev|minival|test|eval)(?:[-_\d]\w*|mini|dev)?", re.IGNORECASE
)


def choose_split(location: str, known: Sequence[str], wanted: str | None) -> str:
    """The requested split; otherwise the first of `SPLITS` that exists, or the first split of all.

    Args:
        location: the data set, for messages.
        known: its splits.
        wanted: the split that the user named, if any.

    Raises:
        DataError: the requested split does not exist.
    """
    for name in [wanted] if wanted else [*SPLITS, *known]:
        if name in known:
            return name
    there = ", ".join(filter(None, known))
    raise DataError(f"{location} has no such split", got=wanted, expected=f"one of {there}" if there else None)


def is_split(name: str) -> bool:
    """Whether this is a usual name of a split, such as train, val2014 or test-dev."""
    return _NAME.fullmatch(name) is not None


def left_out(chosen: str, known: Sequence[str]) -> str | None:
    """What the user is told about a split that was chosen for them; None if there is no other."""
    others = [name for name in dict.fromkeys(known) if name != chosen]
    if not others:
        return None
    shown = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
    return f"split {chosen} is read; {shown} left out, give --split to choose"


def split_column(rows: Sequence[Any]) -> str | None:
    """The column of the rows' values that says which split each row belongs to."""
    for column in _COLUMNS:
        found = {str(row[column]) for row in rows if row.get(column)}
        if found and all(map(is_split, found)):
            return column
    return None


def rows_of_split(location: str, rows: Sequence[Any], wanted: str | None) -> tuple[list[bool], str | None]:
    """Which rows belong to the split that is read, and what the user is told about the others.

    Args:
        location: the data set, for messages.
        rows: the values of each row.
        wanted: the split that the user named, if the rows have to be told apart by it.

    Raises:
        DataError: the user named a split that no row has.
    """
    column = split_column(rows)
    if column is None:
        if wanted:
            raise DataError(f"{location} has no splits", got=wanted, remedy="leave out --split")
        return [True] * len(rows), None
    counts = Counter(str(row[column]) for row in rows if row.get(column))
    chosen = choose_split(location, list(counts), wanted)
    note = None if wanted else left_out(chosen, list(counts))
    return [not row or str(row.get(column) or chosen) == chosen for row in rows], note
