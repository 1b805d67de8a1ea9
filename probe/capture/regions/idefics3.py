"""Idefics3 and SmolVLM: tiles of the image, stretched to fill them, row by row, then the whole image."""

from math import isqrt

from PIL import Image

from probe.capture.regions.base import REGIONS, WHOLE, Places, Prompt, View, grid
from probe.capture.regions.internvl import tiles


@REGIONS.register("idefics3")
@REGIONS.register("smolvlm")
def places(prompt: Prompt) -> Places:
    """The processor is asked again for rows and columns, which it keeps from the model."""
    blanks = [Image.new("RGB", size) for size in prompt.sizes]
    asked = prompt.image_processor(images=[blanks], return_row_col_info=True, return_tensors="pt")
    views: list[list[View]] = [
        [*tiles(rows, columns), WHOLE] for rows, columns in zip(asked["rows"][0], asked["cols"][0], strict=True)
    ]
    side = isqrt(prompt.tokens // sum(map(len, views)))
    for image, own in enumerate(views):
        for view in own:
            yield from grid(image, side, side, view)
