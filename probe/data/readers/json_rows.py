"""Reads JSON Lines (one object per line), or one JSON file with its rows in a list or in an object keyed by id."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from halfv_core.errors import DataError
from probe.data.readers.base import READERS, Reader, Row, Source, Table
from probe.data.readers.joined import answered_questions, captioned_images

_LISTS = ("data", "questions", "annotations", "samples", "rows", "logs", "images")
"""Keys under which a JSON object keeps its list of rows."""


def open_json(source: Source) -> Table:
    """Rows of a .jsonl, .ndjson or .json file.

    Raises:
        DataError: the file is not UTF-8 text, or a .json file holds no rows.
    """
    text = read_text(source.path)
    if source.path.suffix.lower() == ".json":
        return Table(_listed(source.path, text), source.path.parent)
    return Table(_lines(text), source.path.parent)


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark.

    Raises:
        DataError: the file cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"cannot read data {path}: not UTF-8 text") from None
    except OSError as error:
        raise DataError(f"cannot read data {path}: {error.strerror}") from None


def _lines(text: str) -> Iterator[Row]:
    # Not splitlines(), since U+2028 may occur inside a string.
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield _row("line", number, *_parsed(line))


def _parsed(line: str) -> tuple[Any, str | None]:
    try:
        return json.loads(line), None
    except json.JSONDecodeError as error:
        return {}, f"not JSON ({error.msg})"
    except ValueError:
        return {}, "not JSON (a number of thousands of digits)"
    except RecursionError:
        return {}, "not JSON (nested too deeply)"


def _row(unit: str, number: int, value: Any, fault: str | None) -> Row:
    if not isinstance(value, dict):
        value, fault = {}, f"not an object, got {type(value).__name__}"
    return Row(f"{unit} {number}", number, value, fault)


def _listed(path: Path, text: str) -> Iterator[Row]:
    """Rows of one JSON value; a .json file whose first line is JSON by itself may also be JSON Lines."""
    value, fault = _parsed(text)
    if fault and _parsed(text.lstrip().partition("\n")[0])[1] is None:
        return _lines(text)
    if isinstance(value, dict):
        inside = _rows_inside(path, value)
        one_line = "\n" not in text.strip()  # JSON Lines with a single row
        value = [value] if inside is None and one_line and value else inside
    if fault or not isinstance(value, list):
        raise DataError(
            f"{path} holds no rows: {fault or 'no list in it'}", expected="a JSON list of objects, or JSONL"
        )
    return (_row("row", number, row, None) for number, row in enumerate(value, start=1))


def _rows_inside(path: Path, value: dict[str, Any]) -> list[Any] | None:
    """The list inside an object, or the object's values if they are objects keyed by their ids, as in GQA."""
    captioned = captioned_images(value)
    if captioned is not None:
        return captioned
    for key in _LISTS:
        if isinstance(value.get(key), list):
            return answered_questions(path, value[key]) if key == "questions" else list(value[key])
    if value and all(isinstance(row, dict) for row in value.values()):
        return [{"id": key} | row for key, row in value.items()]
    return None


SUFFIXES = (".jsonl", ".ndjson", ".json")
READERS.register("json")(Reader(lambda source: source.path.suffix.lower() in SUFFIXES, open_json))
