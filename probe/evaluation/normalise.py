"""One form for answers that say the same: what is compared wherever an answer is graded.

The rules follow VQA v2's evaluation (visualqa.org/evaluation.html): lower case; number words as digits; no articles,
no punctuation. They differ in three ways. Apostrophes are dropped on both sides, which needs no table of contractions
("dont", "don't"). An article goes only where a word follows it, so that a plate that reads "a 4 9" is not "4 9". A
decimal point and a minus sign stay, and numbers go on to twenty.
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
_OF_A_NUMBER = re.compile(r"(?<!\w)-(?=\.?\d)|(?<![^\W\d_])\.(?=\d)")
"""A minus sign, a decimal point."""


def normalise(answer: str) -> str:
    """An answer in the form that is compared; one that is nothing but punctuation stays as it is, in lower case."""
    folded = unicodedata.normalize("NFKC", answer).lower()
    text = _THOUSANDS.sub("", _APOSTROPHES.sub("", folded))
    kept = {found.start() for found in _OF_A_NUMBER.finditer(text)}
    words = "".join(
        letter if at in kept or not _is_punctuation(letter) else " " for at, letter in enumerate(text)
    ).split()
    return " ".join(_without_articles([_DIGITS.get(word, word) for word in words])) or " ".join(folded.split())


def _is_punctuation(letter: str) -> bool:
    """Percent, degrees and currencies are not: they say what a number means."""
    category = unicodedata.category(letter)
    return letter != "%" and (category[0] == "P" or category in ("Sm", "Sk"))


def _without_articles(words: list[str]) -> list[str]:
    kept: list[str] = []
    for word in reversed(words):
        if not (word in _ARTICLES and kept and len(kept[-1]) > 1 and kept[-1].isalpha()):
            kept.append(word)
    return kept[::-1]
