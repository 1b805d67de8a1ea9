"""The choices of a multiple choice question, as rows keep them: a list, columns of letters, or an object."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from halfv_core.errors import DataError
from probe.data.columns import LETTER_COLUMN
from probe.data.values import Values, cells, is_blank, text_of

CHOICE_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""The letters that label the choices of a question, in order."""

_LABEL = re.compile(r"\(?([A-Z])[.):]\s*(?=\S)")


class Choices(NamedTuple):
    """The choices of one row, in order."""

    texts: tuple[str, ...] = ()
    """Without the letters in front of them that some data have."""
    written: tuple[str, ...] = ()
    """As the data have them."""
    labels: tuple[str, ...] = ()
    """What the data call them: letters unless they bring labels of their own."""
    are_lettered: bool = False
    """Whether the data themselves put letters to them: columns A, B, ..., keys, or "A. ..."."""
    are_numbers: bool = False
    """Whether one of them is stored as a number."""


def read_choices(values: Values, columns: str | None) -> Choices:
    """The choices in order; missing ones at the end are left out.

    Args:
        columns: the column with the choices, or their columns joined by commas.

    Raises:
        DataError: only one choice, a missing one between others, or more choices than letters.
    """
    listed, labels = cells(values, columns), None
    are_lettered = "," in (columns or "") and all(map(LETTER_COLUMN.fullmatch, (columns or "").split(",")))
    if len(listed) == 1 and isinstance(listed[0], Mapping):
        listed, labels = _from_object(listed[0])
        are_lettered = labels is not None and labels == list(CHOICE_LETTERS[: len(labels)])
    kept = [None if is_blank(value) else text_of(value) for value in listed]
    while kept and kept[-1] is None:
        kept.pop()
    written = tuple(choice for choice in kept if choice is not None)
    if len(written) == 1:
        raise DataError("only one choice", got=repr(written[0][:80]), expected="a list of them")
    if len(written) < len(kept):
        raise DataError("an empty choice between others")
    if len(written) > len(CHOICE_LETTERS):
        raise DataError("more choices than letters", got=len(written))
    texts = _without_labels(written)
    return Choices(
        texts,
        written,
        tuple(labels or CHOICE_LETTERS)[: len(written)],
        are_lettered or texts != written,
        any(isinstance(value, int | float) for value in listed if not is_blank(value)),
    )


def _from_object(stored: Mapping[str, Any]) -> tuple[list[Any], list[str] | None]:
    """Values and labels of {"A": ..., "B": ...} or {"text": [...], "label": [...]}."""
    texts, labels = stored.get("text"), stored.get("label")
    if isinstance(texts, list | tuple):
        named = isinstance(labels, list | tuple) and len(labels) == len(texts)
        return list(texts), [str(label) for label in labels] if named and labels else None
    letters = {str(key).strip().upper(): value for key, value in stored.items()}
    if len(letters) == len(stored) and letters.keys() <= set(CHOICE_LETTERS):
        last = max((key for key, value in letters.items() if not is_blank(value)), default="")
        known = CHOICE_LETTERS[: CHOICE_LETTERS.index(last) + 1] if last else ""
        return [letters.get(letter) for letter in known], list(known)
    return list(stored.values()), [str(key) for key in stored]


def _without_labels(written: Sequence[str]) -> tuple[str, ...]:
    """The choices without "A.", "(B)", ... in front, if each has its own letter there."""
    found = [_LABEL.match(choice) for choice in written]
    if all(label and label[1] == letter for label, letter in zip(found, CHOICE_LETTERS, strict=False)):
        return tuple(choice[label.end() :] for choice, label in zip(written, found, strict=True) if label)
    return tuple(written)
