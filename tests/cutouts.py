"""Folders of drawn cut-outs, each caption in a colour of its own, so that pixels tell what a picture shows."""

from pathlib import Path

from PIL import Image, ImageDraw

NOUNS = (
    "acorn badger camel dolphin eagle falcon giraffe hammer iguana jacket kettle lemon mango needle otter pencil quilt "
    "rocket saddle tulip umbrella violin walrus xylophone yacht zebra anvil bucket cactus drum easel fork goblet "
    "helmet igloo jigsaw kimono ladder mitten napkin onion parrot quiver rabbit spoon turtle urn vase whistle yoyo"
).split()
SIZE = 60


def color_of(noun: str) -> tuple[int, int, int]:
    """No two nouns have the same one."""
    k = NOUNS.index(noun)
    return 37 * k % 251, 91 * k % 241, 255 - 5 * k


def draw_cutout(noun: str) -> Image.Image:
    image = Image.new("RGBA", (SIZE + 20, SIZE + 20))
    ImageDraw.Draw(image).ellipse((10, 10, 9 + SIZE, 9 + SIZE), fill=color_of(noun))
    return image


def write_cutouts(folder: Path) -> Path:
    """A picture of each noun; half of them have text files, and half go by their names."""
    for k, noun in enumerate(NOUNS):
        path = folder / ("captioned" if k % 2 else "named") / f"{noun}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_cutout(noun).save(path)
        if k % 2:
            article = "An" if noun[0] in "aeiou" else "A"
            path.with_suffix(".txt").write_text(f"{article} {noun}.\nfr=Une chose.\n", encoding="utf-8")
    return folder
