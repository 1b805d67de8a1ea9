"""InternVL: tiles of the image, stretched to fill them, row by row, then the whole image as a thumbnail."""

from math import isqrt

from PIL import Image

from probe.capture.regions.base import REGIONS, WHOLE_IMAGE, Prompt, Regions, Size, View, grid, of_one_kind


@REGIONS.register("internvl")
def regions(prompt: Prompt) -> Regions:
    """The whole image or frame, preceded by its tiles if there are more sets of pixel values than images."""
    of_one_kind(prompt)
    pixel_sets = len(prompt.inputs["pixel_values"])
    side = isqrt(prompt.tokens // pixel_sets)
    for image, size in enumerate(prompt.sizes):
        views = [WHOLE_IMAGE] if pixel_sets == len(prompt.sizes) else _views(prompt, size)
        for view in views:
            yield from grid(image, side, side, view)


def _views(prompt: Prompt, size: Size) -> list[View]:
    blank = Image.new("RGB", size)
    (count,) = prompt.image_processor(images=[blank], crop_to_patches=True, return_tensors="pt")["num_patches"].tolist()
    if count == 1:
        return [WHOLE_IMAGE]
    return [*tile_views(*_shape(size, count - 1)), WHOLE_IMAGE]


def tile_views(rows: int, columns: int) -> list[View]:
    """The views of a (rows, columns) tiling, row by row."""
    return [
        WHOLE_IMAGE.part(column / columns, row / rows, (column + 1) / columns, (row + 1) / rows)
        for row in range(rows)
        for column in range(columns)
    ]


def _shape(size: Size, count: int) -> tuple[int, int]:
    """(rows, columns) of the tiling with `count` tiles whose aspect ratio is closest to the image's."""
    aspect = size[0] / size[1]
    columns = min((n for n in range(1, count + 1) if count % n == 0), key=lambda n: abs(aspect - n * n / count))
    return count // columns, columns
