"""Rows of Arrow tables, which Parquet files and saved data sets are made of: text at once, images when asked for."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from halfv_core.errors import DataError
from probe.data.images import Embedded
from probe.data.readers.base import Row

Cell = Callable[[str], Any]
"""Reads the value that a row has in a column."""


def image_columns(schema: Any) -> tuple[list[str], list[str]]:
    """Columns of one picture (bytes, or a struct with bytes), and columns of lists of such."""
    from pyarrow import binary, large_binary, types

    def is_image(kind: Any) -> bool:
        return kind.get_field_index("bytes") >= 0 if types.is_struct(kind) else kind in (binary(), large_binary())

    def is_list(kind: Any) -> bool:
        return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))

    single = [field.name for field in schema if is_image(field.type)]
    return single, [field.name for field in schema if is_list(field.type) and is_image(field.type.value_type)]


def with_pictures(
    label: str, texts: Mapping[str, Any], present: Mapping[str, bool], listed: Sequence[str], cell: Cell
) -> dict[str, Any]:
    """The values of a row, its images as `Embedded`, which read their own cell when asked for.

    Args:
        texts: all columns but those of one picture.
        present: columns of one picture -> whether the row has it.
        listed: columns of lists of pictures.
    """
    values = dict(texts)
    for name, there in present.items():
        values[name] = Embedded(f"{label} {name}", partial(_bytes, cell, name)) if there else None
    for name in listed:
        values[name] = [
            Embedded(f"{label} {name}[{place}]", partial(_bytes, cell, name, place))
            for place, stored in enumerate(values[name] or ())
            if stored is not None
        ]
    return values


def _bytes(cell: Cell, name: str, place: int | None = None) -> bytes:
    """The bytes of an image as Arrow tables keep it: a file's bytes, or a path to one.

    Raises:
        ValueError, OSError: there is none.
    """
    import pyarrow

    try:
        stored = cell(name) if place is None else cell(name)[place]
    except (pyarrow.ArrowException, LookupError) as error:
        raise ValueError(first_line(error)) from None
    if isinstance(stored, dict):
        stored = stored["bytes"] or (Path(stored["path"]).read_bytes() if stored.get("path") else None)
    if not stored:
        raise ValueError("no image in this row")
    return bytes(stored)


def dataset_rows(table: Any) -> Iterator[Row]:
    """Rows of a `datasets.Dataset`, in small batches; nothing is decoded."""
    stored = table.with_format("arrow")
    number = 0
    for batch in stored.iter(batch_size=100):
        single, listed = image_columns(batch.schema)
        present = {name: batch.column(name).is_valid().to_pylist() for name in single}
        others = batch.drop_columns(single)
        for place, texts in enumerate(others.to_pylist() if others.num_columns else [{}] * batch.num_rows):
            number += 1
            here = {name: there[place] for name, there in present.items()}
            cell = partial(_dataset_cell, stored, number - 1)
            yield Row(f"row {number}", number, with_pictures(f"row {number}", texts, here, listed, cell))


def _dataset_cell(stored: Any, index: int, name: str) -> Any:
    return stored[index].column(name)[0].as_py()


def guarded(place: str, rows: Iterator[Row]) -> Iterator[Row]:
    """The same rows.

    Raises:
        DataError: what a broken file led Arrow to, as one line.
    """
    import pyarrow

    try:
        yield from rows
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"cannot read data {place}: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """What an error says first, or its name."""
    return next(iter(str(error).splitlines()), type(error).__name__)
