"""Rows of Arrow tables, as in Parquet files and saved data sets: text is read at once, images on demand."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from halfv_core.errors import DataError
from probe.data.images import EmbeddedImage, NamedElsewhere
from probe.data.readers.base import Row

Cell = Callable[[str], Any]
"""Returns a row's value in the column of this name."""


def image_columns(schema: Any) -> tuple[list[str], list[str]]:
    """The columns that hold one image each (bytes, or a struct with bytes), and those that hold lists of images."""
    from pyarrow import binary, large_binary, types

    def is_image(dtype: Any) -> bool:
        return dtype.get_field_index("bytes") >= 0 if types.is_struct(dtype) else dtype in (binary(), large_binary())

    def is_list(dtype: Any) -> bool:
        return bool(types.is_list(dtype) or types.is_large_list(dtype) or types.is_fixed_size_list(dtype))

    single = [field.name for field in schema if is_image(field.type)]
    return single, [field.name for field in schema if is_list(field.type) and is_image(field.type.value_type)]


def with_images(
    label: str, texts: Mapping[str, Any], present: Mapping[str, bool], listed: Sequence[str], cell: Cell
) -> dict[str, Any]:
    """The values of a row, with its images as `EmbeddedImage`s that read their cell on demand.

    Args:
        label: the row, for messages.
        texts: the values of all columns except those with one image.
        present: column with one image -> whether the row has the image.
        listed: columns with lists of images.
        cell: reads a cell of the row.
    """
    values = dict(texts)
    for name, exists in present.items():
        values[name] = EmbeddedImage(f"{label} {name}", partial(_bytes, cell, name)) if exists else None
    for name in listed:
        values[name] = [  # a missing image keeps its place, by which texts may refer to the others
            None if stored is None else EmbeddedImage(f"{label} {name}[{index}]", partial(_bytes, cell, name, index))
            for index, stored in enumerate(values[name] or ())
        ]
    return values


def _bytes(cell: Cell, name: str, index: int | None = None) -> bytes:
    """The bytes of an image in an Arrow table.

    Raises:
        ValueError: the cell holds no image.
        NamedElsewhere: the cell holds a path in place of the image.
    """
    import pyarrow

    try:
        stored = cell(name) if index is None else cell(name)[index]
    except (pyarrow.ArrowException, LookupError) as error:
        raise ValueError(first_line(error)) from None
    if isinstance(stored, dict):
        if not stored["bytes"] and stored.get("path"):
            raise NamedElsewhere(str(stored["path"]))
        stored = stored["bytes"]
    if not stored:
        raise ValueError("no image in this row")
    return bytes(stored)


def dataset_rows(table: Any) -> Iterator[Row]:
    """Rows of a `datasets.Dataset`, read in small batches without decoding images."""
    stored = table.with_format("arrow")
    number = 0
    for batch in stored.iter(batch_size=100):
        batch.validate(full=True)  # lengths in a damaged file would be read beyond the end of its memory
        single, listed = image_columns(batch.schema)
        present = {name: batch.column(name).is_valid().to_pylist() for name in single}
        others = batch.drop_columns(single)
        for index, texts in enumerate(others.to_pylist() if others.num_columns else [{}] * batch.num_rows):
            number += 1
            has_image = {name: rows_with[index] for name, rows_with in present.items()}
            cell = partial(_dataset_cell, stored, number - 1)
            yield Row(f"row {number}", number, with_images(f"row {number}", texts, has_image, listed, cell))


def _dataset_cell(stored: Any, index: int, name: str) -> Any:
    return stored[index].column(name)[0].as_py()


def convert_errors(location: str, rows: Iterator[Row]) -> Iterator[Row]:
    """Pass the rows on, with errors from Arrow converted.

    Raises:
        DataError: Arrow failed on a broken file; one line.
    """
    import pyarrow

    try:
        yield from rows
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise DataError(f"cannot read data {location}: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """The first line of an error's message, or the error's class name if there is none."""
    return next(iter(str(error).splitlines()), type(error).__name__)
