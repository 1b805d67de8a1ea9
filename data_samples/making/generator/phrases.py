"""English noun phrases in questions."""

IRREGULAR = {  # also the ends of compounds, the first that fits
    "child": "children",
    "deer": "deer",
    "fish": "fish",
    "foot": "feet",
    "half": "halves",
    "human": "humans",
    "knife": "knives",
    "leaf": "leaves",
    "man": "men",
    "mongoose": "mongooses",
    "goose": "geese",
    "mouse": "mice",
    "scarf": "scarves",
    "sheep": "sheep",
    "tooth": "teeth",
    "wolf": "wolves",
    "woman": "women",
}


def with_article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def plural(phrase: str) -> str:
    """Several of what a phrase in the singular names: "cup of tea" -> "cups of tea"."""
    head, of, rest = phrase.partition(" of ")
    *before, noun = head.split(" ")
    return " ".join([*before, _plural(noun)]) + of + rest


def _plural(noun: str) -> str:
    for singular, several in IRREGULAR.items():
        if noun.endswith(singular):
            return noun.removesuffix(singular) + several
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"
