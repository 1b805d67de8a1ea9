"""Normalises answers before they are compared, so that answers with the same meaning have the same form.

The rules follow the VQA v2 evaluation (visualqa.org/evaluation.html): lower case, number words as digits, no articles,
no punctuation. They differ in three ways. Apostrophes are removed from answer and reference alike, which needs no table
of contractions ("dont", "don't"). An article is removed only before a word, so that a number plate "a 4 9" does not
become "4 9". Decimal points and minus signs stay, and number words go up to twenty.
"""

import re
import unicodedata

_NUMBERS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen twenty"
)
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS.split())} | {"none": "0"}
_ARTICLES = ("a", "an", "the")
_APOSTROPHES = re.compile("['’‘`´]")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_NUMBER_SIGNS = re.compile(r"(?<!\w)-(?=\.?\d)|(?<![^\W\d_])\.(?=\d)")
"""A minus sign or a decimal point."""


def normalise(answer: str) -> str:
    """The normalised answer; one that consists of punctuation or an article only is just lower-cased."""
    folded = unicodedata.normalize("NFKC", answer).lower()
    text = _THOUSANDS.sub("", _APOSTROPHES.sub("", folded))
    kept = {match.start() for match in _NUMBER_SIGNS.finditer(text)}
    words = "".join(
        character if at in kept or not _is_punctuation(character) else " " for at, character in enumerate(text)
    ).split()
    return " ".join(_without_articles([_DIGITS.get(word, word) for word in words])) or " ".join(folded.split())


def _is_punctuation(character: str) -> bool:
    """Whether a character is dropped; signs for per cent, degrees and currencies are not, as they give units."""
    category = unicodedata.category(character)
    return character != "%" and (category[0] == "P" or category in ("Sm", "Sk"))


def _without_articles(words: list[str]) -> list[str]:
    kept: list[str] = []
    for word in reversed(words):
        if not (word in _ARTICLES and kept and len(kept[-1]) > 1 and kept[-1].isalpha()):
            kept.append(word)
    return kept[::-1]
