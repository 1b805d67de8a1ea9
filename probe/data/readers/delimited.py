"""Reads CSV and TSV files with a header row; a cell may hold an image as base64 text."""

import csv
import io
from collections.abc import Iterator
from typing import Any

from halfv_core.errors import DataError
from probe.data.readers.base import READERS, Reader, Row, Source, Table
from probe.data.readers.json_rows import read_text

CELL_LIMIT = 100_000_000
"""Largest number of characters in a cell; Python's default is too small for images."""

DELIMITERS = {".csv": ",", ".tsv": "\t"}


def open_delimited(source: Source) -> Table:
    """Rows of a .csv or .tsv file.

    Raises:
        DataError: not UTF-8 text, or no header.
    """
    text = read_text(source.path)
    csv.field_size_limit(CELL_LIMIT)
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=DELIMITERS[source.path.suffix.lower()])
    try:
        header = [name.strip() for name in next(lines, [])]
    except csv.Error as error:
        raise DataError(f"{source.path} is not CSV: {error}") from None
    if len(header) < 2 or len(set(header)) < len(header):
        expected = "two or more columns with different names in the first line"
        raise DataError(f"{source.path} has no header", got=",".join(header)[:80] or "nothing", expected=expected)
    return Table(_rows(lines, header), source.path.parent)


def _rows(lines: Any, header: list[str]) -> Iterator[Row]:
    number, line = 0, lines.line_num
    while True:
        number, began = number + 1, line + 1
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            yield Row(f"row {number}", number, {}, f"not CSV ({error})")
            continue
        finally:
            line = lines.line_num
        if not any(cell.strip() for cell in cells):
            number -= 1
        elif len(cells) != len(header):
            yield Row(f"row {number}", number, {}, _miscounted(len(cells), len(header), began, line))
        else:
            values = {name: cell if cell.strip() else None for name, cell in zip(header, cells, strict=True)}
            yield Row(f"row {number}", number, values)


def _miscounted(cells: int, columns: int, began: int, ended: int) -> str:
    """The fault of a row with the wrong number of cells; an unclosed quote swallows the lines after it."""
    swallowed = f"; it takes lines {began} to {ended}, is a quote not closed?" if ended > began else ""
    return f"{cells} cells under {columns} column names{swallowed}"


READERS.register("delimited")(Reader(lambda source: source.path.suffix.lower() in DELIMITERS, open_delimited))
