"""Parquet: one file, or a folder of shards. Text is read at once, images when a sample is drawn."""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from halfv_core.errors import DataError
from probe.data.readers.arrow import first_line, guarded, image_columns, with_pictures
from probe.data.readers.base import READERS, Reader, Row, Source, Table

Column = Callable[[Path, int, str], Any]
"""Reads a column of a row group of a file."""


def open_parquet(source: Source) -> Table:
    """Rows of a .parquet file, or of all of them in a folder, in the order of their names.

    Shards named after splits (test-00000-of-00001.parquet) are narrowed down by the source's split.

    Raises:
        DataError: a file that is not there or not Parquet, or no shard of that split.
    """
    files = _shards(source)
    for file in files:
        _opened(file)
    return Table(guarded(source.place, _rows(files)), source.path if source.path.is_dir() else source.path.parent)


def _shards(source: Source) -> list[Path]:
    found = sorted(source.path.rglob("*.parquet")) if source.path.is_dir() else [source.path]
    if not found:
        raise DataError(f"no Parquet files in folder {source.path}")
    named = [file for file in found if source.split in (None, file.stem.partition("-")[0])]
    if not named:
        known = ", ".join(sorted({file.stem.partition("-")[0] for file in found}))
        raise DataError(f"{source.place} has no such split", got=source.split, expected=f"one of {known}")
    return named


def _opened(file: Path) -> Any:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(file)
    except FileNotFoundError:
        raise DataError(f"cannot read data {file}: No such file or directory") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"cannot read data {file}: {first_line(error)}") from None


def _rows(files: list[Path]) -> Iterator[Row]:
    column = lru_cache(maxsize=1)(_column)  # a row group is the least that Parquet reads; neighbours drawn share it
    number = 0
    for file in files:
        table = _opened(file)
        single, listed = image_columns(table.schema_arrow)
        others = [name for name in table.schema_arrow.names if name not in single]
        for group in range(table.num_row_groups):
            present = {name: _present(table, group, name) for name in single}
            rows = (
                table.read_row_group(group, columns=others).to_pylist()
                if others
                else [{}] * len(next(iter(present.values()), []))
            )
            for place, texts in enumerate(rows):
                number += 1
                label = f"{file.name} row {number}" if len(files) > 1 else f"row {number}"
                here = {name: there[place] for name, there in present.items()}
                cell = partial(_cell, column, file, group, place)
                yield Row(label, number, with_pictures(label, texts, here, listed, cell))


def _present(table: Any, group: int, name: str) -> list[bool]:
    """Which rows of a group have a picture: by the statistics, or by a part of it that is smaller than its bytes."""
    from pyarrow.types import is_struct

    kind = table.schema_arrow.field(name).type
    parts = [part.name for part in kind if part.name != "bytes"] if is_struct(kind) else []
    rows = table.metadata.row_group(group)
    leaves = {rows.column(index).path_in_schema: rows.column(index) for index in range(rows.num_columns)}
    statistics = leaves[f"{name}.bytes" if is_struct(kind) else name].statistics
    if statistics is not None and statistics.has_null_count and statistics.null_count == 0:
        return [True] * rows.num_rows
    read = table.read_row_group(group, columns=[f"{name}.{parts[0]}" if parts else name])
    found: list[bool] = read.column(0).is_valid().to_pylist()
    return found


def _column(file: Path, group: int, name: str) -> Any:
    return _opened(file).read_row_group(group, columns=[name]).column(0)


def _cell(column: Column, file: Path, group: int, place: int, name: str) -> Any:
    try:
        return column(file, group, name)[place].as_py()
    except DataError as error:  # it was there when the rows were read
        raise ValueError(str(error)) from None


def _reads(source: Source) -> bool:
    if source.path.suffix.lower() == ".parquet":
        return True
    return source.path.is_dir() and next(source.path.rglob("*.parquet"), None) is not None


READERS.register("parquet")(Reader(_reads, open_parquet, parts=("split",)))
