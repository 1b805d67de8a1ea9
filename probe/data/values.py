"""Values of a row: one cell or several, lists that a table stores as text, and values as text."""

import ast
import io
import json
import math
import tokenize
import warnings
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from halfv_core.interleaving import without_places
from probe.data.images import EmbeddedImage

Values = Mapping[str, Any]
"""Column -> value, for one row."""

_BLANK_WORDS = frozenset({"nan", "NaN", "NAN", "None", "null", "NULL", "<NA>"})
"""What tables write where there is nothing. "none" is a word."""


def cell(values: Values, column: str | None) -> Any:
    """The value of one column, or the nested value that a dotted name points to; None if it is missing."""
    if column is None:
        return None
    if column in values:
        return None if is_missing(values[column]) else values[column]
    value: Any = values
    for part in column.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return None if is_missing(value) else value


def cells(values: Values, columns: str | None) -> list[Any]:
    """The values of several columns, or the items of one column that holds a list."""
    if not columns:
        return []
    if "," in columns and columns not in values:
        return [cell(values, column) for column in columns.split(",")]
    value = parsed_list(cell(values, columns))
    return list(value) if isinstance(value, list | tuple) else [value]


def present(values: Iterable[Any]) -> list[Any]:
    """The values that are not missing."""
    return [value for value in values if not is_missing(value)]


def is_missing(value: Any) -> bool:
    """Whether there is nothing: null, an empty text, or a float that is not a number."""
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def is_blank(value: Any) -> bool:
    """Whether a cell is missing or holds what tables write where there is nothing, such as the text "nan".

    Answers are words, so `is_missing` is the question to ask of them.
    """
    return is_missing(value) or (isinstance(value, str) and value.strip() in _BLANK_WORDS)


def filled(value: Any) -> Any:
    """The value, or None if it is blank."""
    return None if is_blank(value) else value


def parsed_list(value: Any) -> Any:
    """Parse a list that a table stores as text, as JSON or as Python or NumPy print it; anything else is unchanged."""
    if not (isinstance(value, str) and value.strip().startswith("[") and value.strip().endswith("]")):
        return value
    for read in (json.loads, _python_list):
        try:
            return read(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
            continue
    return value


def _python_list(text: str) -> Any:
    """Parse a list of literals; raises ValueError or SyntaxError if the text is not one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # caused by backslashes in formulas
        warnings.simplefilter("ignore", DeprecationWarning)
        parsed = ast.literal_eval(_without_nan(text))
        tokens = [token for token in tokenize.generate_tokens(io.StringIO(text).readline) if token.string.strip()]
        if any(one.type == two.type == tokenize.STRING for one, two in pairwise(tokens)):  # NumPy prints no commas
            return [ast.literal_eval(token.string) for token in tokens if token.type == tokenize.STRING]
    return parsed


def _without_nan(text: str) -> ast.Expression:
    """The expression in a text, with the nan that pandas prints for a missing item replaced by None."""
    tree = ast.parse(text.strip(), mode="eval")
    if isinstance(tree.body, ast.List):
        items = tree.body.elts
        items[:] = [ast.Constant(None) if isinstance(one, ast.Name) and one.id == "nan" else one for one in items]
    return tree


def text_of(value: Any) -> str | None:
    """A value as text: booleans as yes or no, whole numbers without a decimal point, the first item of a list."""
    while isinstance(value, list | tuple | Mapping):
        if isinstance(value, Mapping):
            value = [value.get(key) for key in ("answer", "text", "value", "raw", "content")]
        value = next(iter(present(value)), None)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if is_missing(value) or isinstance(value, bytes | EmbeddedImage):
        return None
    text = hex(value) if isinstance(value, int) and value.bit_length() > 4096 else str(value)  # str() has a limit
    text = text.encode(errors="replace").decode()  # lone surrogates cannot be encoded
    return without_places(text).strip() or None


def texts_of(values: Iterable[Any]) -> list[str]:
    """The values that have a text, as text."""
    return [text for text in map(text_of, values) if text is not None]
