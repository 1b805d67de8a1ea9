"""LLaVA-1.5: one grid per image, over the part that resizing and cropping (or padding) leave of it."""

from math import isqrt
from typing import Any

from probe.capture.regions.base import REGIONS, Prompt, Regions, Size, View, grid


@REGIONS.register("llava")
def regions(prompt: Prompt) -> Regions:
    """A square grid, preceded by the vision tower's class token if the model keeps it."""
    each = prompt.tokens // len(prompt.sizes)
    side = isqrt(each)
    extra = int(prompt.config.vision_feature_select_strategy == "full" and each > side * side)
    for image, size in enumerate(prompt.sizes):
        yield from [None] * extra
        yield from grid(image, side, side, _view(prompt.image_processor, size))


def _view(processor: Any, size: Size) -> View:
    padded = (max(size),) * 2 if getattr(processor, "do_pad", False) else size
    resized = _resized(processor, padded) if processor.do_resize else padded
    shown = resized
    if getattr(processor, "do_center_crop", False):
        shown = processor.crop_size.width, processor.crop_size.height
    edges = []
    for own, canvas, scaled, cut in zip(size, padded, resized, shown, strict=True):
        first, pixel = (scaled - cut) // 2, canvas / scaled
        edges.append([(end * pixel - (canvas - own) // 2) / own for end in (first, first + cut)])
    (left, right), (top, bottom) = edges
    return View(left, top, right, bottom)


def _resized(processor: Any, size: Size) -> Size:
    wanted, short = processor.size, min(size)
    if not wanted.shortest_edge:
        return wanted.width, wanted.height
    width, height = (int(wanted.shortest_edge * edge / short) for edge in size)
    return width, height
