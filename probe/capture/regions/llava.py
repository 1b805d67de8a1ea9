"""LLaVA-1.5: one grid an image, on what resizing and cropping (or padding) left of it."""

from math import isqrt
from typing import Any

from probe.capture.regions.base import REGIONS, Places, Prompt, Size, View, grid


@REGIONS.register("llava")
def places(prompt: Prompt) -> Places:
    """A square grid; before it the tower's class token, where the model keeps that."""
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
