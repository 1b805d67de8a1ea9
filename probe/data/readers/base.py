"""The types that readers share: a source, a row, a table of rows, and the registry of readers."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from halfv_core.errors import DataError
from halfv_core.registry import Registry


@dataclass(frozen=True)
class Source:
    """Where a data set is, and which part of it to read."""

    location: str
    """A path, or the name of a data set on the hub."""
    split: str | None = None
    """Split of the data set; for hub data sets also a slice such as test[:500]."""
    subset: str | None = None
    """Configuration of a hub data set."""
    expected: str = "a file or folder"
    """What the user could give instead, for messages."""

    @property
    def path(self) -> Path:
        return Path(self.location)


class Row(NamedTuple):
    """One row of a data set."""

    label: str
    """The row's position for messages, such as "line 7" or "row 12"."""
    number: int
    """Position in the data set, counted from 1."""
    values: Mapping[str, Any]
    """Column -> value; images inside the data are `EmbeddedImage`s."""
    fault: str | None = None
    """Why the row could not be read, if so; `values` is empty then."""


@dataclass(frozen=True)
class Table:
    """The rows of a data set."""

    rows: Iterator[Row]
    base: Path | None
    """The folder that its relative paths start from; None for a data set that is in no folder of the user's."""
    note: str | None = None
    """What the user should know about how it was read."""
    split: str | None = None
    """The split that the user wants and that the rows have to be searched for."""


@dataclass(frozen=True)
class Reader:
    """A reader for one kind of source."""

    reads: Callable[[Source], bool]
    """Whether it can read a source."""
    open: Callable[[Source], Table]
    parts: tuple[str, ...] = ()
    """Options that select a part of such a source: "split", "subset"."""


READERS: Registry[Reader] = Registry("reader", DataError)
