"""Reads a curve from a CSV file with a header row and a column `value` (or `H1_trunc_raw`, as in the HalfV release).

With a column `layer` or `layer_index`, the rows may be in any order, and the layers must be 0..n-1; without one, row i
is layer i.
"""

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from halfv_core.errors import DataError
from halfv_core.files import read_text

VALUE_COLUMNS = ("value", "H1_trunc_raw")
LAYER_COLUMNS = ("layer", "layer_index")


class _Row(NamedTuple):
    layer: int
    line: int
    value: float


def read_curve(path: str | Path) -> tuple[float, ...]:
    """Read a curve; entry i belongs to layer i.

    Raises:
        DataError: the file cannot be read, has no header, no known column or no rows, a field is not a finite number,
            or the layers are not 0..n-1.
    """
    try:
        text = io.StringIO(read_text(Path(path), "utf-8-sig"), newline="")
        rows = sorted(_rows(path, csv.DictReader(text, skipinitialspace=True)))
    except OSError as error:
        raise DataError(f"cannot read curve {path}: {error.strerror}", remedy="check the path") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"curve {path} is not CSV text: {error}") from None
    if not rows:
        raise DataError(f"curve {path} line 2: no rows", expected="one for each layer, after the header")
    for layer, row in enumerate(rows):
        if row.layer != layer:
            got = f"layer {row.layer}" + (" again" if layer and row.layer == rows[layer - 1].layer else "")
            expected = f"layer {layer}, so that all of 0..{len(rows) - 1} are there once"
            raise DataError(f"curve {path} line {row.line}: wrong layer", got=got, expected=expected)
    return tuple(row.value for row in rows)


def _rows(path: str | Path, reader: "csv.DictReader[str]") -> Iterator[_Row]:
    names = [name.strip() for name in reader.fieldnames or ()]
    reader.fieldnames = names
    value = next((name for name in VALUE_COLUMNS if name in names), None)
    layer = next((name for name in LAYER_COLUMNS if name in names), None)
    if value is None:
        expected = f"a header row with a column {' or '.join(VALUE_COLUMNS)}"
        got = f"columns {', '.join(names)}" if names else "an empty file"
        raise DataError(f"curve {path} line 1: no column to read", got=got, expected=expected)
    for index, fields in enumerate(reader):
        place = f"curve {path} line {reader.line_num}"
        number = _number(fields[value], f"{place}: {value}")
        at = index if layer is None else _number(fields[layer], f"{place}: {layer}")
        if at != int(at):
            raise DataError(f"{place}: {layer} is not a layer", got=at, expected="a whole number")
        yield _Row(int(at), reader.line_num, number)


def _number(text: str | None, place: str) -> float:
    try:
        number = float(text or "")
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{place} is not a number", got=repr(text or ""), expected="a finite number")
    return number
