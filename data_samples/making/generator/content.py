"""What a scene holds: coloured shapes and perhaps a short text, each in its own cell of a 3 x 3 grid.

A scene's bucket is a hash of this content alone, so a training scene can never be a calibration or held-out scene,
whatever seed drew it and however it is rendered.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from random import Random
from typing import Literal

COLORS = ("red", "green", "blue", "yellow", "purple", "orange", "cyan", "black")
SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond")
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "center", "right")
CHARACTERS = "24579CEHKLTX"  # no pair looks alike as drawn, and no letter is also a word (a) or a digit (o, i)

Bucket = Literal["train", "calibration", "heldout"]


@dataclass(frozen=True, order=True)
class Cell:
    """A place in the 3 x 3 grid."""

    row: int
    column: int

    @property
    def name(self) -> str:
        return f"{ROWS[self.row]} {COLUMNS[self.column]}"


@dataclass(frozen=True, order=True)
class Item:
    """A coloured shape in a cell; a scene never holds two of the same colour and shape."""

    cell: Cell
    color: str
    shape: str


@dataclass(frozen=True)
class Text:
    """Characters written in a cell."""

    cell: Cell
    characters: str


@dataclass(frozen=True)
class Scene:
    """All that is asked about; colours' exact tones, sizes and background are left to the drawing."""

    items: tuple[Item, ...]
    text: Text | None

    @property
    def bucket(self) -> Bucket:
        """The set this content belongs to: 90 % train, 5 % calibration, 5 % held-out."""
        canonical = json.dumps(asdict(self), sort_keys=True)
        share = int.from_bytes(hashlib.sha256(canonical.encode()).digest()[:8], "big") % 100
        return "train" if share < 90 else "calibration" if share < 95 else "heldout"


@dataclass(frozen=True)
class Difficulty:
    """How full a scene is: inclusive ranges, and how often it carries a text."""

    objects: tuple[int, int] = (3, 6)
    characters: tuple[int, int] = (2, 3)
    text_share: float = 0.5


def draw_content(rng: Random, difficulty: Difficulty) -> Scene:
    """A random scene of any bucket; few colours and shapes per scene, so that questions have close distractors."""
    cells = [Cell(row, column) for row in range(3) for column in range(3)]
    rng.shuffle(cells)
    text = None
    if rng.random() < difficulty.text_share:
        length = rng.randint(*difficulty.characters)
        text = Text(cells.pop(), "".join(rng.choices(CHARACTERS, k=length)))
    count = rng.randint(*difficulty.objects)
    colors = rng.sample(COLORS, rng.randint(2, 5))
    shapes = rng.sample(SHAPES, rng.randint(3, 4))
    kinds = rng.sample([(color, shape) for color in colors for shape in shapes], count)
    items = sorted(Item(cell, color, shape) for cell, (color, shape) in zip(cells, kinds, strict=False))
    return Scene(tuple(items), text)


def scenes(rng: Random, difficulty: Difficulty, bucket: Bucket) -> Iterator[Scene]:
    """Endless random scenes of one bucket."""
    while True:
        scene = draw_content(rng, difficulty)
        if scene.bucket == bucket:
            yield scene
