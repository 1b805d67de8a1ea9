"""Readers for data sets in various formats: each turns one kind of source into rows of named values.

A reader says which sources it can read, and yields `Row`s. What does not belong here: the meaning of the values (see
probe.data.columns). To add a reader, add a file here and its name below; the order is that in which they are tried.
"""

from dataclasses import replace

from halfv_core.errors import DataError

from probe.data.readers import saved, json_rows, delimited, parquet, folder, hub  # noqa: F401 # isort: skip
from probe.data.readers.base import READERS, Reader, Row, Source, Table

__all__ = ["READERS", "Row", "Source", "Table", "open_table"]


def open_table(source: Source) -> Table:
    """Open a source with the first reader that can read it.

    Raises:
        DataError: the source does not exist, no reader can read it, or the file is unreadable as a whole.
    """
    if not source.location.strip():
        raise DataError("--data is empty", expected=f"{source.expected} or a hub data set name (owner/name)")
    for reader in READERS.values():
        if _reads(reader, source):
            return _opened(reader, source)
    if source.path.exists():
        raise DataError(
            f"no reader for {source.location}", expected="JSONL, JSON, CSV, TSV, Parquet or a folder of data"
        )
    raise DataError(
        f"no data at {source.location}: no such file or folder",
        remedy=f"give {source.expected} or a hub data set name (owner/name)",
    )


def _reads(reader: Reader, source: Source) -> bool:
    """Whether the reader can read the source; raises DataError if the system denies access to it."""
    try:
        return reader.reads(source)
    except OSError as error:
        raise DataError(f"cannot read data {source.location}: {error.strerror}") from None


def _opened(reader: Reader, source: Source) -> Table:
    """Open the source; raises DataError if a subset is requested that this kind of source cannot have."""
    if source.subset and "subset" not in reader.parts:
        raise DataError(f"{source.location} has no subsets", got=source.subset, remedy="leave out --subset")
    table = reader.open(source)
    return table if "split" in reader.parts else replace(table, split=source.split)
