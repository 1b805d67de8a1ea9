"""Finds the option of a multiple choice question that an answer names; an ambiguous answer names none."""

import re
from collections.abc import Sequence

from probe.data.choices import CHOICE_LETTERS
from probe.evaluation.normalise import normalise

_LEAD_IN = re.compile(
    r"(?:(?:so|therefore|thus)?,?\s*(?:the|my)?\s*(?:final|correct|right|best)?\s*"
    r"\b(?:answer|option|choice)\b(?:\s+(?:is|would be|must be))?"
    r"|it\s+is|it['’]s|i\s+(?:would\s+)?(?:choose|pick|select))\s*:?\s*(?:(?:option|choice)\s+)?(?=\W*\w)",
    re.IGNORECASE,
)
"""Words that may precede the answer itself, such as "The answer is"."""
_LETTER = re.compile(r"\(?([A-Za-z])\)?[.):,]*")
_LETTER_AND_MORE = re.compile(r"(?:\(([A-Za-z])\)[.:,]?|([A-Za-z])[.)]|([A-Z])[:,])\s*(\S.*)")
_NAMED = re.compile(r"(?<!\w)([A-Z])(?![\w'’]|\s+[a-z])|\b(?:or|and|not|nor)\s+\(?([A-Z])\b")
"""A capital letter that refers to an option, as opposed to the article "A" and the pronoun "I"."""


def chosen_letter(answer: str, choices: Sequence[str]) -> str | None:
    """The letter of the option that an answer names, or None.

    Recognised are a letter ("B", "(b)", "B."), a letter followed by its option's text or a remark ("B. a red car"), and
    the text of an option, each alone or after words such as "The answer is". Options with the same text can be told
    apart only by their letters. An answer that names two letters, or a letter with another option's text, names none.
    """
    letters = CHOICE_LETTERS[: len(choices)]
    plain = " ".join(answer.replace("*", "").split())  # without Markdown's bold
    lead_in = _LEAD_IN.match(plain)
    core = plain[lead_in.end() :] if lead_in else plain
    texts = [normalise(choice) for choice in choices]
    named = {letter for text in (plain, core) for letter in _by_text(text, texts)}
    letter = _by_letter(core, letters, texts)
    if letter:
        named.add(letter)
    return named.pop() if len(named) == 1 else None


def _by_text(text: str, texts: Sequence[str]) -> list[str]:
    """The letters of all options with this text."""
    wanted = normalise(text)
    return [letter for letter, choice in zip(CHOICE_LETTERS, texts, strict=False) if choice == wanted]


def _by_letter(text: str, letters: str, texts: Sequence[str]) -> str | None:
    """The letter that the text starts with, unless what follows points to another option."""
    alone, longer = _LETTER.fullmatch(text), _LETTER_AND_MORE.fullmatch(text)
    if alone:
        letter = alone[1].upper()
        return letter if letter in letters else None
    if not longer:
        return None
    letter, rest = next(filter(None, longer.groups()[:3])).upper(), longer[4]
    meant = _by_text(rest, texts)
    if letter not in letters or (meant and letter not in meant):
        return None
    return letter if meant or not _names_others(rest, letter, letters) else None


def _names_others(rest: str, letter: str, letters: str) -> bool:
    """Whether the rest of an answer mentions another option's letter, also in a list of lower-case letters."""
    words = normalise(rest).upper().split()
    if all(len(word) == 1 and word in letters for word in words):
        return set(words) != {letter}
    named = {one or two for one, two in _NAMED.findall(rest)}
    return bool(named & set(letters) - {letter})
