"""Cut-outs, and perhaps a text, put on a background without overlap, and where each of them is."""

import math
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageStat

from data_samples.making.composed.cutouts import Kind, confusable, opened
from data_samples.making.generator.content import CHARACTERS, Cell
from data_samples.making.generator.drawing import CELL, OVERSAMPLE, SIZE, Tone, draw_text, shifted, text_box, textured

MARGIN = 4
"""Pixels between things, and to the border."""
CLEAR = 8
"""Pixels between the centre of a thing and the border of its cell, and half of those to the middle of the picture."""
SIZES = {1: (80, 120), 2: (64, 96), 3: (58, 84), 4: (50, 68), 5: (46, 60)}
"""Number of cut-outs -> range of their sizes, pixels: square roots of the areas of their boxes."""
LONGEST = 1.5
"""The longer side of a cut-out is at most this times its size."""
REPEATED_SHARE = 0.5
WORD_SHARE = 0.6
TONES_TRIED = 8
PLACES_TRIED = 60
KINDS_TRIED = 60
WORDS = (
    "cell check cheek eel elect elk etch excel heel hex keel kettle lee leech leek let tech tee teeth tell text the"
).split()
"""Words of the characters that scenes are drawn with."""

Box = tuple[int, int, int, int]


class Thing(NamedTuple):
    """A cut-out or a text in a picture."""

    name: str
    """The caption, or what is written."""
    box: Box
    """Left, top, right, bottom in pixels."""

    @property
    def centre(self) -> tuple[float, float]:
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2

    @property
    def cell(self) -> Cell | None:
        """The cell of the 3 x 3 grid that its centre is clearly in."""
        x, y = self.centre
        clear = all(CLEAR <= place % CELL <= CELL - CLEAR for place in (x, y))
        return Cell(int(y // CELL), int(x // CELL)) if clear else None

    def half(self, axis: int) -> int | None:
        """0 if its centre is clearly in the left half (axis 0) or the upper one (axis 1), and 1 if in the other."""
        offset = self.centre[axis] - SIZE / 2
        return None if abs(offset) < 2 * CLEAR else int(offset > 0)

    def before(self, other: "Thing", axis: int) -> bool:
        """Whether all of it is left of the other (axis 0), or above it (axis 1)."""
        return self.box[axis + 2] <= other.box[axis]

    def reaches(self, cell: Cell) -> bool:
        """Whether a part of it is more than `CLEAR` pixels inside of a cell."""
        left, top, right, bottom = self.box
        x, y = cell.column * CELL, cell.row * CELL
        return min(right, x + CELL) - max(left, x) > CLEAR and min(bottom, y + CELL) - max(top, y) > CLEAR


class Composed(NamedTuple):
    """A picture of `SIZE` pixels, and what is in it."""

    image: Image.Image
    kinds: tuple[Kind, ...]
    """What is shown, each once; no caption may be right for a cut-out of another kind."""
    things: tuple[Thing, ...]
    """The cut-outs."""
    text: Thing | None


def compose(kinds: Sequence[Kind], rng: Random, text_share: float) -> Composed:
    """A random picture of some of the kinds."""
    chosen = _chosen(kinds, rng)
    cutouts = [_sized(opened(rng.choice(kind.pictures)), rng.uniform(*SIZES[len(chosen)])) for kind in chosen]
    image = _background([_mean(cutout) for cutout in cutouts], rng)
    boxes: list[Box] = []
    shown: list[Kind] = []
    for kind, cutout in zip(chosen, cutouts, strict=True):
        box = _place(cutout.size, boxes, rng)
        if box:
            image.paste(cutout, box[:2], cutout)
            boxes.append(box)
            shown.append(kind)
    text = _placed_text(boxes, rng) if rng.random() < text_share else None
    things = tuple(Thing(kind.caption, box) for kind, box in zip(shown, boxes, strict=True))
    return Composed(_with_text(image, text) if text else image, tuple(dict.fromkeys(shown)), things, text)


def _chosen(kinds: Sequence[Kind], rng: Random) -> list[Kind]:
    """Kinds that cannot be taken for each other, one of them often several times."""
    count = rng.randint(1, max(SIZES))
    chosen: list[Kind] = []
    if count > 1 and rng.random() < REPEATED_SHARE:
        chosen = [rng.choice(kinds)] * rng.randint(2, min(count, 4))
    for _ in range(KINDS_TRIED):
        if len(chosen) == count:
            break
        kind = rng.choice(kinds)
        if not any(confusable(kind, other) for other in chosen):
            chosen.append(kind)
    rng.shuffle(chosen)
    return chosen


def _placed_text(taken: Sequence[Box], rng: Random) -> Thing | None:
    """A word or a few characters, if there is room."""
    characters = "".join(rng.choices(CHARACTERS, k=rng.randint(2, 4)))
    if rng.random() < WORD_SHARE:
        characters = rng.choice(WORDS).upper()
    left, top, right, bottom = text_box(characters, (0, 0))
    box = _place((right - left, bottom - top), taken, rng)
    return box and Thing(characters, box)


def _sized(cutout: Image.Image, size: float) -> Image.Image:
    width, height = cutout.size
    scale = size * min(1 / math.sqrt(width * height), LONGEST / max(width, height))
    return cutout.resize((max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.LANCZOS)


def _place(size: tuple[int, int], taken: Sequence[Box], rng: Random) -> Box | None:
    """A box that is near none that is taken, if one is found."""
    width, height = size
    for _ in range(PLACES_TRIED):
        x, y = rng.randint(MARGIN, SIZE - MARGIN - width), rng.randint(MARGIN, SIZE - MARGIN - height)
        near = (x - MARGIN, y - MARGIN, x + width + MARGIN, y + height + MARGIN)
        if not any(_overlap(near, box) for box in taken):
            return x, y, x + width, y + height
    return None


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _mean(cutout: Image.Image) -> list[float]:
    return ImageStat.Stat(cutout.convert("RGB"), mask=cutout.getchannel("A")).mean


def _background(colors: Sequence[Sequence[float]], rng: Random) -> Image.Image:
    """Plain, textured or with a gradient, in the tone of a few random ones that all cut-outs stand out from most."""
    tones = [(rng.randint(30, 245), rng.randint(30, 245), rng.randint(30, 245)) for _ in range(TONES_TRIED)]
    tone: Tone = max(tones, key=lambda tone: min(math.dist(tone, color) for color in colors))
    form = rng.choice(("plain", "gradient", "textured"))
    if form == "textured":
        return textured(tone, rng)
    image = Image.new("RGB", (SIZE, SIZE), tone)
    if form == "gradient":
        slope = Image.linear_gradient("L").rotate(rng.choice((0, 90, 180, 270))).resize((SIZE, SIZE))
        image.paste(shifted(tone, rng.choice((-1, 1)) * rng.randint(20, 50)), mask=slope)
    return image


def _with_text(image: Image.Image, text: Thing) -> Image.Image:
    large = image.resize((SIZE * OVERSAMPLE,) * 2, Image.Resampling.NEAREST)
    left, top, _, _ = text_box(text.name, (0, 0))
    draw_text(ImageDraw.Draw(large), text.name, (text.box[0] - left, text.box[1] - top))
    return large.reduce(OVERSAMPLE)
