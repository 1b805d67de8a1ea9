"""Scene -> 224 px RGB picture on a textured background, and where each thing was put.

Backgrounds are a few close shades without per-pixel noise, and characters a built-in bitmap font, so that files stay
small and pictures do not depend on installed fonts.
"""

import math
from random import Random
from typing import NamedTuple

from PIL import Image, ImageDraw

from data_samples.making.generator.content import Cell, Scene

SIZE = 224
CELL = SIZE / 3
OVERSAMPLE = 2  # drawn larger, then averaged: smooth edges
GLYPH_SCALE = 3  # pixels per dot of the 5 x 7 font: a glyph is 15 x 21 px, about one visual token
GLYPH_PITCH = 20

TONES = {
    "red": (214, 40, 40),
    "green": (40, 150, 60),
    "blue": (40, 80, 210),
    "yellow": (240, 205, 20),
    "purple": (140, 50, 170),
    "orange": (245, 130, 20),
    "cyan": (30, 190, 215),
    "black": (25, 25, 25),
}

GLYPHS = {  # rows of five dots, top first
    "2": "01110 10001 00001 00110 01000 10000 11111",
    "4": "00010 00110 01010 10010 11111 00010 00010",
    "5": "11111 10000 11110 00001 00001 10001 01110",
    "7": "11111 00001 00010 00100 01000 01000 01000",
    "9": "01110 10001 10001 01111 00001 00010 01100",
    "C": "01110 10001 10000 10000 10000 10001 01110",
    "E": "11111 10000 10000 11110 10000 10000 11111",
    "H": "10001 10001 10001 11111 10001 10001 10001",
    "K": "10001 10010 10100 11000 10100 10010 10001",
    "L": "10000 10000 10000 10000 10000 10000 11111",
    "T": "11111 00100 00100 00100 00100 00100 00100",
    "X": "10001 10001 01010 00100 01010 10001 10001",
}

Point = tuple[float, float]
Tone = tuple[int, int, int]


class Placement(NamedTuple):
    """Where a thing was drawn, centre and half extent in pixels, and what it shows: colour and shape, or character."""

    x: float
    y: float
    half: float
    words: tuple[str, ...]


class Drawing(NamedTuple):
    """A picture and what lies where in it."""

    image: Image.Image
    placements: tuple[Placement, ...]


def _ring(radii: tuple[float, ...]) -> list[Point]:
    """Points around the centre at these radii, the first one upwards."""
    step = 2 * math.pi / len(radii)
    return [(r * math.sin(k * step), -r * math.cos(k * step)) for k, r in enumerate(radii)]


_ARM = 0.33  # half width of the cross
OUTLINES: dict[str, list[Point]] = {
    "circle": _ring((0.95,) * 48),
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0, -1.0), (1.0, 0.8), (-1.0, 0.8)],
    "star": _ring((1.1, 0.45) * 5),
    "cross": [
        *((-_ARM, -1), (_ARM, -1), (_ARM, -_ARM), (1, -_ARM), (1, _ARM), (_ARM, _ARM)),
        *((_ARM, 1), (-_ARM, 1), (-_ARM, _ARM), (-1, _ARM), (-1, -_ARM), (-_ARM, -_ARM)),
    ],
    "diamond": [(0, -1.15), (0.72, 0), (0, 1.15), (-0.72, 0)],
}


def shifted(tone: Tone, shift: int) -> Tone:
    red, green, blue = (max(0, min(255, channel + shift)) for channel in tone)
    return red, green, blue


def _background(rng: Random) -> Image.Image:
    """A light tone with a texture."""
    return textured((rng.randint(212, 245), rng.randint(212, 245), rng.randint(212, 245)), rng)


def textured(base: Tone, rng: Random) -> Image.Image:
    """A tone, perhaps with stripes, checks, dots or blotches two shades away from it."""
    shade = shifted(base, rng.choice((-1, 1)) * rng.randint(5, 10))
    image = Image.new("RGB", (SIZE, SIZE), base)
    draw = ImageDraw.Draw(image)
    pitch = rng.randint(8, 18)
    texture = rng.choice(("plain", "stripes", "checks", "dots", "blotches"))
    if texture == "stripes":
        slope = rng.choice((0, SIZE // 2, SIZE, -SIZE))
        for x in range(-SIZE, 2 * SIZE, pitch):
            draw.line([(x, 0), (x + slope, SIZE)], fill=shade, width=pitch // 3)
    elif texture in ("checks", "dots"):
        for row, top in enumerate(range(0, SIZE, pitch)):
            for left in range((row % 2) * pitch, SIZE, 2 * pitch):
                side = pitch - 1 if texture == "checks" else pitch // 2
                paint = draw.rectangle if texture == "checks" else draw.ellipse
                paint([left, top, left + side, top + side], fill=shade)
    elif texture == "blotches":
        coarse = Image.frombytes("L", (9, 9), bytes(rng.randrange(256) for _ in range(81)))
        blotches = coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC).point(lambda v: 255 * (v > 128))
        image.paste(shade, mask=blotches)
    return image


def _outline(shape: str, centre: Point, radius: float, angle: float) -> list[Point]:
    cos, sin = math.cos(angle), math.sin(angle)
    return [
        (centre[0] + radius * (cos * x - sin * y), centre[1] + radius * (sin * x + cos * y)) for x, y in OUTLINES[shape]
    ]


def _within(cell: Cell, half: float, rng: Random) -> Point:
    """A random centre whose half extent stays inside the cell."""
    room = max(0.0, CELL / 2 - half)
    return (
        (cell.column + 0.5) * CELL + rng.uniform(-room, room) * 0.7,
        (cell.row + 0.5) * CELL + rng.uniform(-room, room) * 0.7,
    )


def text_box(characters: str, centre: Point) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the plate that characters are written on, in pixels."""
    width = (len(characters) - 1) * GLYPH_PITCH
    left, top = round(centre[0] - width / 2), round(centre[1])
    return left - 11, top - 14, left + width + 10, top + 13


def draw_text(draw: ImageDraw.ImageDraw, characters: str, centre: Point) -> list[Placement]:
    """Characters of `GLYPHS` on a white plate, on a picture `OVERSAMPLE` times as large; a placement for each."""
    dot = GLYPH_SCALE
    plate = text_box(characters, centre)
    left, top = plate[0] + 11, plate[1] + 14
    draw.rectangle([OVERSAMPLE * v for v in plate], fill=(255, 255, 255), outline=(90, 90, 90), width=OVERSAMPLE)
    placements = []
    for k, character in enumerate(characters):
        centre = left + k * GLYPH_PITCH
        for row, dots in enumerate(GLYPHS[character].split()):
            for column in (c for c, bit in enumerate(dots) if bit == "1"):
                px, py = centre - 7 + dot * column, top - 10 + dot * row
                corner = [OVERSAMPLE * v for v in (px, py, px + dot, py + dot)]
                draw.rectangle([corner[0], corner[1], corner[2] - 1, corner[3] - 1], fill=(25, 25, 25))
        placements.append(Placement(centre, top, GLYPH_PITCH / 2, (character.lower(),)))
    return placements


def draw(scene: Scene, rng: Random) -> Drawing:
    """Render a scene; `rng` decides sizes, small turns, tones and background."""
    large = _background(rng).resize((SIZE * OVERSAMPLE,) * 2, Image.Resampling.NEAREST)
    canvas = ImageDraw.Draw(large)
    placements = []
    for item in scene.items:
        radius = rng.uniform(0.2, 0.34) * CELL
        x, y = _within(item.cell, radius * 1.1, rng)
        tone = shifted(TONES[item.color], rng.randint(-12, 12))
        points = _outline(item.shape, (x, y), radius, rng.uniform(-0.12, 0.12))
        canvas.polygon([(OVERSAMPLE * px, OVERSAMPLE * py) for px, py in points], fill=tone)
        placements.append(Placement(x, y, radius, (item.color, item.shape)))
    if scene.text:
        characters = scene.text.characters
        half = (len(characters) - 1) * GLYPH_PITCH / 2
        placements += draw_text(canvas, characters, _within(scene.text.cell, half + 12, rng))
    return Drawing(large.reduce(OVERSAMPLE), tuple(placements))
