"""Reads a Parquet file or a folder of shards. Text is read at once, images on demand."""

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from halfv_core.errors import DataError
from probe.data.readers.arrow import convert_errors, first_line, image_columns, with_images
from probe.data.readers.base import READERS, Reader, Row, Source, Table
from probe.data.splits import choose_split, is_split, left_out

Column = Callable[[Path, int, str], Any]
"""Reads one column of one row group: (file, row group, column name)."""


def open_parquet(source: Source) -> Table:
    """Rows of a .parquet file, or of all such files in a folder in the order of their names.

    If shards are named after splits (test-00000-of-00001.parquet), those of one split are read.

    Raises:
        DataError: a file does not exist, is not Parquet or has two columns of one name, or there is no shard of that
            split.
    """
    files, note = _shards(source)
    for file in files:
        _check_names(file)
    rows = convert_errors(source.location, _rows(files))
    if source.path.is_dir():
        return Table(rows, source.path, note)
    return Table(rows, source.path.parent, split=source.split)  # the file may have a column of splits


def _shards(source: Source) -> tuple[list[Path], str | None]:
    """The files to read, and what the user should know about the others."""
    found = sorted(_files(source.path)) if source.path.is_dir() else [source.path]
    if not found:
        raise DataError(f"no Parquet files in folder {source.path}")
    splits = [file.stem.partition("-")[0] for file in found]
    known = [name for name in sorted(set(splits)) if is_split(name)]
    if len(known) < 2 and (not source.split or source.path.is_file()):
        return found, None
    chosen = choose_split(source.location, known, source.split)
    files = [file for file, split in zip(found, splits, strict=True) if split == chosen]
    return files, None if source.split else left_out(chosen, sorted(set(splits)))


def _files(folder: Path) -> Iterator[Path]:
    """The Parquet files in a folder; a pipe of that name would be waited for."""
    return (path for path in folder.rglob("*.parquet") if path.is_file())


def _opened(file: Path) -> Any:
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(file)
    except FileNotFoundError:
        raise DataError(f"cannot read data {file}: No such file or directory") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"cannot read data {file}: {first_line(error)}") from None


def _check_names(file: Path) -> None:
    names = _opened(file).schema_arrow.names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{file} has several columns of one name", got=", ".join(twice), expected="different names")


def _rows(files: list[Path]) -> Iterator[Row]:
    column = lru_cache(maxsize=1)(_column)  # Parquet reads whole row groups; samples in the same group share one read
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
            for index, texts in enumerate(rows):
                number += 1
                label = f"{file.name} row {number}" if len(files) > 1 else f"row {number}"
                has_image = {name: rows_with[index] for name, rows_with in present.items()}
                cell = partial(_cell, column, file, group, index)
                yield Row(label, number, with_images(label, texts, has_image, listed, cell))


def _present(table: Any, group: int, name: str) -> list[bool]:
    """Which rows of a group have an image, from the column statistics or from a struct field smaller than the bytes."""
    from pyarrow.types import is_struct

    dtype = table.schema_arrow.field(name).type
    parts = [part.name for part in dtype if part.name != "bytes"] if is_struct(dtype) else []
    rows = table.metadata.row_group(group)
    leaves = {rows.column(index).path_in_schema: rows.column(index) for index in range(rows.num_columns)}
    statistics = leaves[f"{name}.bytes" if is_struct(dtype) else name].statistics
    if statistics is not None and statistics.has_null_count and statistics.null_count == 0:
        return [True] * rows.num_rows
    read = table.read_row_group(group, columns=[f"{name}.{parts[0]}" if parts else name])
    present: list[bool] = read.column(0).is_valid().to_pylist()
    return present


def _column(file: Path, group: int, name: str) -> Any:
    return _opened(file).read_row_group(group, columns=[name]).column(0)


def _cell(column: Column, file: Path, group: int, index: int, name: str) -> Any:
    try:
        return column(file, group, name)[index].as_py()
    except DataError as error:  # the file has gone since its rows were read
        raise ValueError(str(error)) from None


def _reads(source: Source) -> bool:
    if source.path.suffix.lower() == ".parquet":
        return True
    return source.path.is_dir() and next(_files(source.path), None) is not None


READERS.register("parquet")(Reader(_reads, open_parquet, parts=("split",)))
