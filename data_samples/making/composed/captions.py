"""What a cut-out shows, as a short English noun phrase: from the text beside it, its own title, or its file's name."""

import re
from collections.abc import Iterable

FUNCTION_WORDS = frozenset(
    "a an and another are as at bw by for from in into is it its no not on one or over that the their there they this "
    "to two under we with without you your".split()
)
ALSO = {
    "aircraft": "airplane",
    "bull": "cow",
    "bunny": "rabbit",
    "caribou": "deer",
    "cep": "mushroom",
    "chick": "hen",
    "chicken": "hen",
    "doe": "deer",
    "drake": "duck",
    "dreydl": "dreidel",
    "dromedary": "camel",
    "gander": "goose",
    "kitten": "cat",
    "locomotive": "train",
    "mug": "cup",
    "puppy": "dog",
    "ram": "sheep",
    "rooster": "hen",
    "tepee": "tent",
    "tombstone": "grave",
    "wapiti": "deer",
}
"""Word -> another one that is also right for the same things. It is no thesaurus: it has what looking found."""
MAX_WORDS = 3
_END_OF_SENTENCE = re.compile(r"[.!?;:(]|\s[-–—]|—")
_TRAILING_NUMBERS = re.compile(r"([\s_#.-]*\d+)+[\s_#-]*$")
_WORD = re.compile(r"[a-z]{2,}(['-][a-z]+)*")


def from_sentence(text: str) -> str | None:
    """The phrase in "A red apple. Yum!"; None for a sentence that begins otherwise, which may be about anything."""
    sentence = _END_OF_SENTENCE.split(text.lower().replace("’", "'"))[0].strip()
    article, _, phrase = sentence.partition(" ")
    return _checked(phrase) if article in ("a", "an") else None


def from_name(text: str) -> str | None:
    """The phrase in a title or a file's name: "Horse_(b and w)_02" -> "horse"; None for the names of several things."""
    name = _TRAILING_NUMBERS.sub("", _END_OF_SENTENCE.split(text.lower())[0])
    words = re.split(r"[\s_-]+", name.strip(" _-"))
    if words[0] in ("a", "an", "the"):
        del words[0]
    phrase = _checked(" ".join(words))
    return None if phrase and _is_plural(phrase.partition(" of ")[0]) else phrase


def _checked(phrase: str) -> str | None:
    """The phrase, if it consists of few words that are no function words, except "of" between two of them."""
    parts = phrase.split(" of ")
    words = [word for part in parts for word in part.split(" ")]
    plain = all(_WORD.fullmatch(word) and word not in FUNCTION_WORDS | {"of"} for word in words)
    return phrase if plain and len(parts) <= 2 and len(words) <= MAX_WORDS else None


def _is_plural(phrase: str) -> bool:
    return phrase.endswith("s") and not phrase.endswith(("ss", "us", "is"))


def content_words(texts: Iterable[str]) -> frozenset[str]:
    """The words of captions or names of folders, in the singular, without function words, and what is `ALSO` right."""
    found = {_singular(word) for text in texts for word in re.split(r"[^a-z]+", text.lower())}
    found |= {ALSO[word] for word in found if word in ALSO}
    return frozenset(found - FUNCTION_WORDS - {"", "of"})


def _singular(word: str) -> str:
    if not _is_plural(word):
        return word
    if word.endswith("ies"):
        return word[:-3] + "y"
    return word[:-2] if word.endswith(("ches", "shes", "xes")) else word[:-1]
