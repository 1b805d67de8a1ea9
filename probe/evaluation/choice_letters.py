"""Which option of a multiple choice question an answer names; one that can be read in two ways names none."""

import re
from collections.abc import Sequence

from probe.data.fields import CHOICE_LETTERS
from probe.evaluation.normalise import normalise

_SAID = re.compile(
    r"(?:(?:so|therefore|thus)?,?\s*(?:the|my)?\s*(?:final|correct|right|best)?\s*"
    r"\b(?:answer|option|choice)\b(?:\s+(?:is|would be|must be))?"
    r"|it\s+is|it['’]s|i\s+(?:would\s+)?(?:choose|pick|select))\s*:?\s*(?:(?:option|choice)\s+)?(?=\W*\w)",
    re.IGNORECASE,
)
"""What may stand before the answer proper, as in "The answer is"."""
_LETTER = re.compile(r"\(?([A-Za-z])\)?[.):,]*")
_LETTER_AND_MORE = re.compile(r"(?:\(([A-Za-z])\)[.:,]?|([A-Za-z])[.)]|([A-Z])[:,])\s*(\S.*)")
_NAMED = re.compile(r"(?<!\w)([A-Z])(?![\w'’]|\s+[a-z])|\b(?:or|and|not|nor)\s+\(?([A-Z])\b")
"""A letter that stands for an option, unlike the article and the pronoun."""


def chosen_letter(answer: str, choices: Sequence[str]) -> str | None:
    """The letter of the option that an answer names, or None.

    Understood are a letter ("B", "(b)", "B."), a letter with what it stands for or with a remark ("B. a red car"), and
    an option's own text, each alone or after words like "The answer is". Two options that read alike can be told apart
    by their letters alone; an answer that names two letters, or a letter with another option's text, names none.
    """
    letters = CHOICE_LETTERS[: len(choices)]
    plain = " ".join(answer.replace("*", "").split())  # without Markdown's bold
    before = _SAID.match(plain)
    said = plain[before.end() :] if before else plain
    texts = [normalise(choice) for choice in choices]
    found = {letter for text in (plain, said) for letter in _by_text(text, texts)}
    letter = _by_letter(said, letters, texts)
    if letter:
        found.add(letter)
    return found.pop() if len(found) == 1 else None


def _by_text(text: str, texts: Sequence[str]) -> list[str]:
    found = normalise(text)
    return [letter for letter, choice in zip(CHOICE_LETTERS, texts, strict=False) if choice == found]


def _by_letter(text: str, letters: str, texts: Sequence[str]) -> str | None:
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
    """Whether another option's letter is spoken of, be it in a list of small letters."""
    words = normalise(rest).upper().split()
    if all(len(word) == 1 and word in letters for word in words):
        return set(words) != {letter}
    named = {one or two for one, two in _NAMED.findall(rest)}
    return bool(named & set(letters) - {letter})
