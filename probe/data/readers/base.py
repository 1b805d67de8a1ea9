"""What readers have in common: where data are, a row, a table of rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from halfv_core.errors import DataError
from halfv_core.registry import Registry


@dataclass(frozen=True)
class Source:
    """Where data are, and which part of them."""

    place: str
    """A path, or the name of a data set on the hub."""
    split: str | None = None
    """Split of a data set; slices such as test[:500] where the data come from the hub."""
    subset: str | None = None
    """Configuration of a hub data set."""
    expected: str = "a file or folder"
    """What could have been given, for messages."""

    @property
    def path(self) -> Path:
        return Path(self.place)


class Row(NamedTuple):
    """One row of a data set."""

    label: str
    """Where it stands, for people: line 7, row 12."""
    number: int
    """Counted from 1."""
    values: Mapping[str, Any]
    """Column -> value; images inside the data are `Embedded`."""
    fault: str | None = None
    """Why the row could not be read, where it could not; its values are empty then."""


@dataclass(frozen=True)
class Table:
    """The rows of a data set, and where its relative paths start."""

    rows: Iterator[Row]
    base: Path


@dataclass(frozen=True)
class Reader:
    """One way to read."""

    reads: Callable[[Source], bool]
    open: Callable[[Source], Table]
    parts: tuple[str, ...] = ()
    """What its places can be narrowed down by: split, subset."""


READERS: Registry[Reader] = Registry("reader", DataError)

SPLITS = ("test", "validation", "val", "dev", "train")
"""Which split is taken when none is named: calibration wants data that the model was not trained on."""


def choose_split(source: Source, known: Sequence[str]) -> str:
    """The split that was asked for, else the first of `SPLITS` that there is, else the first there is.

    Raises:
        DataError: it is not there.
    """
    wanted = [source.split] if source.split else [*SPLITS, *known]
    for name in wanted:
        if name in known:
            return name
    there = ", ".join(filter(None, known))
    raise DataError(
        f"{source.place} has no such split", got=source.split, expected=f"one of {there}" if there else None
    )
