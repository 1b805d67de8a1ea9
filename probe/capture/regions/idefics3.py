"""Idefics3 and SmolVLM: tiles of the image, stretched to fill them, row by row, then the whole image."""

from math import isqrt

from PIL import Image

from probe.capture.regions.base import REGIONS, WHOLE_IMAGE, Prompt, Regions, View, grid, of_one_kind
from probe.capture.regions.internvl import tile_views


@REGIONS.register("idefics3")
@REGIONS.register("smolvlm")
def regions(prompt: Prompt) -> Regions:
    """Tiles, then the whole image, for each image; frames of videos are not cut into tiles."""
    of_one_kind(prompt)
    if prompt.frames:
        side = isqrt(prompt.tokens // len(prompt.sizes))
        for image in range(len(prompt.sizes)):
            yield from grid(image, side, side)
        return
    # The model inputs lack the numbers of rows and columns, so the processor runs again on blank images.
    blanks = [Image.new("RGB", size) for size in prompt.sizes]
    processed = prompt.image_processor(images=[blanks], return_row_col_info=True, return_tensors="pt")
    views: list[list[View]] = [
        [*tile_views(rows, columns), WHOLE_IMAGE]
        for rows, columns in zip(processed["rows"][0], processed["cols"][0], strict=True)
    ]
    side = isqrt(prompt.tokens // sum(map(len, views)))
    for image, image_views in enumerate(views):
        for view in image_views:
            yield from grid(image, side, side, view)
