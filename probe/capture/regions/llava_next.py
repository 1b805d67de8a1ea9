"""LLaVA-NeXT: the whole image as one grid, then its tiles as one larger grid with a newline token after each row."""

import math

from transformers.image_processing_utils import select_best_resolution

from probe.capture.regions.base import REGIONS, Prompt, Regions, View, grid


@REGIONS.register("llava_next")
def regions(prompt: Prompt) -> Regions:
    """The regions of all images, one image after the other."""
    for image in range(len(prompt.sizes)):
        yield from tiled_regions(prompt, image)


def tiled_regions(prompt: Prompt, image: int, max_tiles: float = math.inf) -> Regions:
    """The regions of one image: the base grid, then the tiles without the rows or columns of tokens that show padding.

    Args:
        max_tiles: a grid with more tokens than this many tiles is shrunk to about their number.
    """
    width, height = prompt.sizes[image]
    tower = prompt.config.vision_config
    side = tower.image_size // tower.patch_size
    yield from grid(image, side, side)

    canvas_height, canvas_width = select_best_resolution((height, width), prompt.config.image_grid_pinpoints)
    rows, columns = (edge // tower.image_size * side for edge in (canvas_height, canvas_width))
    # The model's rounding when it removes padding differs by a few pixels from the processor's when it adds it.
    cut_x = cut_y = 0
    if width / height > columns / rows:
        cut_y = (rows - int(round(height * (columns / width), 7))) // 2
    else:
        cut_x = (columns - int(round(width * (rows / height), 7))) // 2
    view = _canvas(width, height, canvas_width, canvas_height).part(
        cut_x / columns, cut_y / rows, 1 - cut_x / columns, 1 - cut_y / rows
    )
    rows, columns = rows - 2 * cut_y, columns - 2 * cut_x
    ratio = math.sqrt(rows * columns / (max_tiles * side**2))
    if ratio > 1.1:
        rows, columns = int(rows // ratio), int(columns // ratio)
    for row in range(rows):
        yield from grid(image, 1, columns, view.part(0, row / rows, 1, (row + 1) / rows))
        yield None


def _canvas(width: int, height: int, canvas_width: int, canvas_height: int) -> View:
    """The canvas onto which the image is scaled and centred, as a view of the image."""
    scale = min(canvas_width / width, canvas_height / height)
    edges = []
    for own, canvas in ((width, canvas_width), (height, canvas_height)):
        scaled = min(math.ceil(own * scale), canvas)
        before = (canvas - scaled) // 2
        edges.append([-before / scaled, (canvas - before) / scaled])
    (left, right), (top, bottom) = edges
    return View(left, top, right, bottom)
