"""Questions that can be asked about a scene, one function per family, with the one right answer.

A family returns None where the scene does not allow such a question. Answers are lower case; grading compares the
generated text with them after strip and lower.
"""

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import NamedTuple

from data_samples.making.generator.content import COLORS, SHAPES, Item, Scene
from data_samples.making.generator.phrases import plural, with_article


class Question(NamedTuple):
    """A question of one family and its answer."""

    family: str
    text: str
    answer: str


Ask = Callable[[Scene, Random], tuple[str, str] | None]


def _unique(items: tuple[Item, ...], feature: str) -> list[Item]:
    """Items whose colour (or shape) no other item has."""
    counts = Counter(getattr(item, feature) for item in items)
    return [item for item in items if counts[getattr(item, feature)] == 1]


def _existence(scene: Scene, rng: Random) -> tuple[str, str] | None:
    """Half yes, half no; absent pairs are made of colours and shapes that are there whenever possible."""
    present = {(item.color, item.shape) for item in scene.items}
    colors, shapes = ({pair[0] for pair in present}, {pair[1] for pair in present})
    pairs = {(color, shape) for color in colors for shape in shapes}
    form = rng.choice(("pair", "pair", "color", "shape"))
    yes = rng.random() < 0.5
    if form == "pair":
        options = [f"{color} {shape}" for color, shape in (present if yes else pairs - present)]
        options = options or [f"{color} {shape}" for color in COLORS for shape in shapes if color not in colors]
    elif form == "color":
        options = [f"{color} object" for color in COLORS if (color in colors) == yes]
    else:
        options = [shape for shape in SHAPES if (shape in shapes) == yes]
    return f"Is there {with_article(rng.choice(sorted(options)))}?", "yes" if yes else "no"


def _attribute(scene: Scene, rng: Random) -> tuple[str, str] | None:
    by_shape = rng.random() < 0.5
    options = _unique(scene.items, "shape" if by_shape else "color")
    if not options:
        return None
    item = rng.choice(options)
    if by_shape:
        return f"What color is the {item.shape}?", item.color
    return f"What shape is the {item.color} object?", item.shape


def _place(scene: Scene, rng: Random) -> tuple[str, str] | None:
    item = rng.choice(scene.items)
    if rng.random() < 0.5:
        return f"What color is at the {item.cell.name}?", item.color
    return f"What shape is at the {item.cell.name}?", item.shape


def _where(scene: Scene, rng: Random) -> tuple[str, str] | None:
    form = rng.choice(("pair", "pair", "color", "shape"))
    options = list(scene.items) if form == "pair" else _unique(scene.items, form)
    if not options:
        return None
    item = rng.choice(options)
    phrase = {"pair": f"{item.color} {item.shape}", "color": f"{item.color} object", "shape": item.shape}[form]
    return f"Where is the {phrase}?", item.cell.name


def _counting(scene: Scene, rng: Random) -> tuple[str, str] | None:
    """Picks the answer first, so that small numbers do not win by being common."""
    tally: dict[int, list[str]] = {len(scene.items): ["objects"]}
    for color in COLORS:
        tally.setdefault(sum(item.color == color for item in scene.items), []).append(f"{color} objects")
    for shape in SHAPES:
        tally.setdefault(sum(item.shape == shape for item in scene.items), []).append(plural(shape))
    if rng.random() < 0.8:
        tally.pop(0)
    answer = rng.choice(sorted(tally))
    phrase = rng.choice(tally[answer])
    return f"How many {phrase} are there?", str(answer)


def _relation(scene: Scene, rng: Random) -> tuple[str, str] | None:
    first, second = rng.sample(scene.items, 2)
    axis, words = rng.choice((("row", ("above", "below")), ("column", ("left of", "right of"))))
    difference = getattr(first.cell, axis) - getattr(second.cell, axis)
    if difference == 0:
        return None
    yes = rng.random() < 0.5
    word = words[(difference > 0) == yes]
    names = [f"the {item.color} {item.shape}" for item in (first, second)]
    return f"Is {names[0]} {word} {names[1]}?", "yes" if yes else "no"


def _reading(scene: Scene, rng: Random) -> tuple[str, str] | None:
    """Answers spell the characters apart, as the word-level tokenizer writes them."""
    if scene.text is None:
        return None
    return "What does the text say?", " ".join(scene.text.characters.lower())


def _description(scene: Scene, rng: Random) -> tuple[str, str] | None:
    """A training aid only: it names every colour, shape and place of a scene in one answer."""
    return "Describe the image.", ", ".join(f"{i.color} {i.shape} {i.cell.name}" for i in scene.items)


def _text_where(scene: Scene, rng: Random) -> tuple[str, str] | None:
    """A training aid only: finding the text, one half of reading it."""
    return ("Where is the text?", scene.text.cell.name) if scene.text else None


def _text_place(scene: Scene, rng: Random) -> tuple[str, str] | None:
    """A training aid only: spelling a text whose place is told, the other half of reading."""
    if scene.text is None:
        return None
    return f"What text is at the {scene.text.cell.name}?", " ".join(scene.text.characters.lower())


FAMILIES: dict[str, Ask] = {
    "existence": _existence,
    "attribute": _attribute,
    "place": _place,
    "where": _where,
    "counting": _counting,
    "relation": _relation,
    "reading": _reading,
    "description": _description,
    "text_where": _text_where,
    "text_place": _text_place,
}


def ask(family: str, scene: Scene, rng: Random) -> Question | None:
    """One question of this family, or None where the scene has none."""
    found = FAMILIES[family](scene, rng)
    return Question(family, *found) if found else None
