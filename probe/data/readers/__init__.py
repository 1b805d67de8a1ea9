"""Ways to read a data set from somewhere: each reader turns one kind of place into rows of named values.

A reader says which places it can read and yields `Row`s; what the values mean is not its business (see
probe.data.columns). A new one is a file here and its name below, where the order is that in which they are asked.
"""

from halfv_core.errors import DataError

from probe.data.readers import saved, json_rows, delimited, parquet, folder, hub  # noqa: F401 # isort: skip
from probe.data.readers.base import READERS, Reader, Row, Source, Table

__all__ = ["READERS", "Row", "Source", "Table", "open_table"]


def open_table(source: Source) -> Table:
    """The rows of a source, by the first reader that knows its kind.

    Raises:
        DataError: nothing there, no reader for it, or a file that cannot be read at all.
    """
    for reader in READERS.values():
        if _reads(reader, source):
            return _opened(reader, source)
    if source.path.exists():
        raise DataError(f"no reader for {source.place}", expected="JSONL, JSON, CSV, TSV, Parquet or a folder of data")
    raise DataError(
        f"no data at {source.place}: no such file or folder",
        remedy=f"give {source.expected} or a hub data set name (owner/name)",
    )


def _reads(reader: Reader, source: Source) -> bool:
    """Raises DataError: the system refuses to look there."""
    try:
        return reader.reads(source)
    except OSError as error:
        raise DataError(f"cannot read data {source.place}: {error.strerror}") from None


def _opened(reader: Reader, source: Source) -> Table:
    """Raises DataError: asked for a part that these data do not have."""
    for part in ("split", "subset"):
        asked = getattr(source, part)
        if asked and part not in reader.parts:
            raise DataError(f"{source.place} has no {part}s", got=asked, remedy=f"leave out --{part}")
    return reader.open(source)
