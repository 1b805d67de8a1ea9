"""What a column of answers to multiple choice questions means, decided over the whole column and never row by row.

An answer may be the choice's letter, its text, or its index from 0 or from 1. Rows whose choices are themselves numbers
or letters can be read in several ways: "2" of the choices 1, 2, 3, 4 is the second one as a text and the third one as
an index. The other rows of the column tell which is meant. Where they do not, the data are refused.
"""

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

from halfv_core.errors import DataError
from probe.data.choices import CHOICE_LETTERS, Choices
from probe.data.values import present, text_of, texts_of

Meaning = Literal["letter", "text", "index0", "index1"]
MEANINGS: tuple[Meaning, ...] = get_args(Meaning)

_WORDS: dict[Meaning, str] = {
    "letter": "letters",
    "text": "texts of the choices",
    "index0": "indices from 0",
    "index1": "indices from 1",
}
_LETTER = re.compile(r"\(?([a-z])(?:[.):].*)?", re.IGNORECASE | re.DOTALL)
_INDEX = re.compile(r"([0-9]{1,2})(?:\.0*)?")
"""A table with gaps in a column of integers writes them as 2.0."""
_INDEX_NAME = re.compile(r"(?:.*_)?(?:idx|index)", re.IGNORECASE)
_HIDDEN = ("?", "-1", "hidden")
"""Placeholders that test splits hold instead of an answer."""


class Choice(NamedTuple):
    """The stored answers of one row and its choices."""

    answers: Sequence[Any]
    choices: Choices

    @property
    def first(self) -> Any:
        """The first stored answer; None if there is none."""
        return next(iter(present(self.answers)), None)


def _by_letter(stored: Any, choices: Choices) -> int | None:
    text = text_of(stored) or ""
    if text in choices.labels:
        return choices.labels.index(text)
    found = _LETTER.fullmatch(text)
    letter = found[1].upper() if found else ""
    return choices.labels.index(letter) if letter in choices.labels else None


def _by_text(stored: Any, choices: Choices) -> int | None:
    if isinstance(stored, int | float) and not isinstance(stored, bool) and not choices.are_numbers:
        return None
    text = text_of(stored)
    for texts in (choices.texts, choices.written):
        if text in texts:
            return texts.index(text)
    return None


def _by_index(stored: Any, choices: Choices, first: int = 0) -> int | None:
    found = None if isinstance(stored, bool) else _INDEX.fullmatch(text_of(stored) or "")
    position = int(found[1]) - first if found else -1
    return position if 0 <= position < len(choices.texts) else None


_POSITION: dict[Meaning, Callable[[Any, Choices], int | None]] = {
    "letter": _by_letter,
    "text": _by_text,
    "index0": _by_index,
    "index1": partial(_by_index, first=1),
}


def decide_meaning(column: str, rows: Sequence[Choice]) -> tuple[Meaning | None, str | None]:
    """The meaning under which most answers of a column are one of their choices.

    Args:
        column: its name; one that ends in `idx` or `index` holds no texts and no letters.
        rows: the rows that have choices.

    Returns:
        The meaning, None if no answer is one of its choices under any; and a note for the user where it was a guess.

    Raises:
        DataError: two meanings fit equally well and give different answers.
    """
    known = [row for row in rows if row.first is not None and text_of(row.first) not in _HIDDEN]
    allowed = [m for m in MEANINGS if m.startswith("index")] if _INDEX_NAME.fullmatch(column) else list(MEANINGS)
    found = {meaning: [_POSITION[meaning](row.first, row.choices) for row in known] for meaning in allowed}
    counts = {meaning: sum(position is not None for position in found[meaning]) for meaning in allowed}
    best = max(counts.values(), default=0)
    if not best:
        return None, None
    tied = [meaning for meaning in allowed if counts[meaning] == best]
    if "letter" in tied and all(row.choices.are_lettered for row in known):
        return "letter", None
    if "text" in tied and all(row.choices.are_numbers for row in known):
        return "text", None
    guess = tied[0]
    rival = next((meaning for meaning in tied[1:] if found[meaning] != found[guess]), None)
    if rival is None:
        return guess, None
    number = next(n for n, pair in enumerate(zip(found[guess], found[rival], strict=True)) if pair[0] != pair[1])
    example = f"{str(text_of(known[number].first))[:40]!r} of {', '.join(known[number].choices.texts)[:80]}"
    if (guess, rival) == ("index0", "index1"):  # nearly all data count from 0
        note = f"the answers in column {column} are read as indices from 0; none of them is 0 or the number of choices"
        return guess, f"{note}; if they count from 1, give --answers-are index1"
    raise DataError(
        f"the answers in column {column} may be {_WORDS[guess]} or {_WORDS[rival]}, and no row tells which",
        got=example,
        remedy=f"say which with --answers-are {guess} or --answers-are {rival}",
    )


def choice_letter(row: Choice, meaning: Meaning | None) -> tuple[str, ...]:
    """The letter of the right choice, as a tuple; empty if the data hide it.

    Raises:
        DataError: the answer is none of the choices, or several of them.
    """
    stored = present(row.answers)
    if not stored or (text_of(stored[0]) in _HIDDEN and not (meaning == "text" and _by_text(stored[0], row.choices))):
        return ()
    positions = {_POSITION[meaning](value, row.choices) if meaning else None for value in stored}
    got = repr(str(text_of(stored[0]))[:80])
    if None in positions:
        raise DataError("the answer is none of the choices", got=got, expected=_expected(row.choices, meaning)[:200])
    if len(positions) > 1:
        raise DataError("more than one choice is right", got=", ".join(texts_of(stored))[:80])
    return (CHOICE_LETTERS[positions.pop() or 0],)


def _expected(choices: Choices, meaning: Meaning | None) -> str:
    """What an answer with this meaning could have been, for messages."""
    if meaning == "letter":
        return f"a letter from {choices.labels[0]} to {choices.labels[-1]}, as in the other rows"
    if meaning in ("index0", "index1"):
        first = int(meaning == "index1")
        return f"an index from {first} to {len(choices.texts) - 1 + first}, as in the other rows"
    return f"one of {', '.join(choices.texts)}"
