"""Questions about a composed picture, one function per family, each with all that can be asked without ambiguity.

They are worded as those about drawn scenes are (`generator/questions.py`), and answers are lower case.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from random import Random

from data_samples.making.composed.cutouts import Kind, confusable
from data_samples.making.composed.pictures import WORDS, Composed, Thing
from data_samples.making.generator.phrases import plural, with_article
from data_samples.making.generator.questions import Question

HALVES = (("on the left or on the right", ("left", "right")), ("at the top or at the bottom", ("top", "bottom")))
"""By axis, x first."""
RELATIONS = (("left of", "right of"), ("above", "below"))
ABSENT_TRIED = 60

Asked = Iterator[tuple[str, str]]
"""Questions with their answers."""


def _absent(picture: Composed, kinds: Sequence[Kind], rng: Random, count: int) -> list[Kind]:
    """Up to `count` kinds whose captions are right for nothing in the picture."""
    drawn = (rng.choice(kinds) for _ in range(ABSENT_TRIED))
    fitting = (kind for kind in drawn if not any(confusable(kind, shown) for shown in picture.kinds))
    return list(dict.fromkeys(fitting))[:count]


def _single(picture: Composed) -> list[Thing]:
    """Cut-outs that are the only ones of their kind."""
    names = [thing.name for thing in picture.things]
    return [thing for thing in picture.things if names.count(thing.name) == 1]


def _existence(picture: Composed, kinds: Sequence[Kind], rng: Random) -> Asked:
    for answer, asked in (("yes", picture.kinds), ("no", _absent(picture, kinds, rng, len(picture.kinds)))):
        yield from ((f"Is there {with_article(kind.caption)}?", answer) for kind in asked)


def _counting(picture: Composed, kinds: Sequence[Kind], rng: Random) -> Asked:
    """What is there more than once, and at most one thing that is there once, and one that is not."""
    counts = {kind.caption: 0 for kind in _absent(picture, kinds, rng, 1)}
    counts |= {thing.name: 1 for thing in rng.sample(_single(picture), min(1, len(_single(picture))))}
    names = [thing.name for thing in picture.things]
    counts |= {name: names.count(name) for name in dict.fromkeys(names) if names.count(name) > 1}
    yield from ((f"How many {plural(name)} are there?", str(count)) for name, count in counts.items())


def _where(picture: Composed, kinds: Sequence[Kind], rng: Random) -> Asked:
    for thing in _single(picture):
        if thing.cell:
            yield f"Where is the {thing.name}?", thing.cell.name
        for axis, (halves, answers) in enumerate(HALVES):
            half = thing.half(axis)
            if half is not None:
                yield f"Is the {thing.name} {halves}?", answers[half]


def _relation(picture: Composed, kinds: Sequence[Kind], rng: Random) -> Asked:
    """Each pair once in each direction that one is clearly before the other in."""
    for first, second in permutations(_single(picture), 2):
        for axis, words in enumerate(RELATIONS):
            if first.before(second, axis):
                yes = rng.random() < 0.5
                one, other, word = rng.choice(((first, second, words[not yes]), (second, first, words[yes])))
                yield f"Is the {one.name} {word} the {other.name}?", "yes" if yes else "no"


def _naming(picture: Composed, kinds: Sequence[Kind], rng: Random) -> Asked:
    everything = [*picture.things, *([picture.text] if picture.text else [])]
    for thing in picture.things:
        cell = thing.cell
        if cell and sum(other.reaches(cell) for other in everything) == 1:
            yield f"What is at the {cell.name}?", thing.name
    if len(everything) == 1:
        yield "What is in the image?", picture.things[0].name


def _reading(picture: Composed, kinds: Sequence[Kind], rng: Random) -> Asked:
    """Characters are spelled apart, as in the scenes, and words are words."""
    if picture.text:
        characters = picture.text.name.lower()
        yield "What does the text say?", " ".join(characters)
        if characters in WORDS:
            yield "Which word is written?", characters


FAMILIES: dict[str, Callable[[Composed, Sequence[Kind], Random], Asked]] = {
    "existence": _existence,
    "counting": _counting,
    "where": _where,
    "relation": _relation,
    "naming": _naming,
    "reading": _reading,
}


def ask(family: str, picture: Composed, kinds: Sequence[Kind], rng: Random) -> list[Question]:
    """All questions of a family about a picture that was composed of some of the kinds."""
    return [Question(family, *asked) for asked in FAMILIES[family](picture, kinds, rng)]


def shuffled(picture: Composed, kinds: Sequence[Kind], rng: Random, weights: dict[str, float]) -> Iterator[Question]:
    """All questions about a picture, families drawn by weight as long as they have any left."""
    left = {family: ask(family, picture, kinds, rng) for family in weights}
    for questions in left.values():
        rng.shuffle(questions)
    while any(left.values()):
        families = [family for family, questions in left.items() if questions]
        family = rng.choices(families, [weights[family] for family in families])[0]
        yield left[family].pop()
