"""Gemma 3: the whole image, stretched to a square; with pan and scan, followed by crops along its longer side."""

from math import ceil, isqrt

from PIL import Image

from probe.capture.regions.base import REGIONS, WHOLE_IMAGE, Prompt, Regions, Size, View, grid


@REGIONS.register("gemma3")
def regions(prompt: Prompt) -> Regions:
    """The whole image, and its crops if there are more sets of pixel values than images."""
    pixel_sets = len(prompt.inputs["pixel_values"])
    side = isqrt(prompt.tokens // pixel_sets)
    for image, size in enumerate(prompt.sizes):
        views = [WHOLE_IMAGE] if pixel_sets == len(prompt.sizes) else [WHOLE_IMAGE, *_crops(prompt, size)]
        for view in views:
            yield from grid(image, side, side, view)


def _crops(prompt: Prompt, size: Size) -> list[View]:
    blank = Image.new("RGB", size)
    (count,) = prompt.image_processor(images=[blank], return_tensors="pt")["num_crops"].tolist()
    if not count:
        return []
    across = size[0] >= size[1]
    ends = [min(number * ceil(max(size) / count) / max(size), 1.0) for number in range(count + 1)]
    pairs = zip(ends, ends[1:], strict=False)
    return [View(first, 0, last, 1) if across else View(0, first, 1, last) for first, last in pairs]
