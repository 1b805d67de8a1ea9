"""LLaVA-OneVision: tiles as in LLaVA-NeXT, shrunk if there are many; padded squares if a prompt has several images."""

from math import ceil

from probe.capture.regions.base import REGIONS, Prompt, Regions, View, grid, in_order
from probe.capture.regions.llava_next import tiled_regions


@REGIONS.register("llava_onevision")
def regions(prompt: Prompt) -> Regions:
    """Images, and videos: each frame is a grid with half the side length, and each video ends with a newline token."""
    yield from in_order(prompt, _images(prompt), _videos(prompt))


def _side(prompt: Prompt) -> int:
    tower = prompt.config.vision_config
    return int(tower.image_size // tower.patch_size)


def _images(prompt: Prompt) -> Regions:
    side = _side(prompt)
    images = len(prompt.inputs.get("image_sizes", ()))
    together = [int(count) for count in prompt.inputs.get("batch_num_images", [1] * images) for _ in range(count)]
    max_tiles = int(prompt.config.vision_aspect_ratio.removeprefix("anyres_max_"))
    for image, count in enumerate(together):
        if count == 1:
            yield from tiled_regions(prompt, image, max_tiles)
        else:
            yield from grid(image, side, side, _square(*prompt.sizes[image]))
            yield None


def _videos(prompt: Prompt) -> Regions:
    half, images = ceil(_side(prompt) / 2), len(prompt.inputs.get("image_sizes", ()))
    videos = prompt.inputs.get("pixel_values_videos", ())  # (videos, frames, channels, height, width)
    for video, frames in enumerate(videos):
        for frame in range(len(frames)):
            yield from grid(images + video * len(frames) + frame, half, half)
        yield None


def _square(width: int, height: int) -> View:
    side = max(width, height)
    left, top = (side - width) // 2, (side - height) // 2
    return View(-left / width, -top / height, (side - left) / width, (side - top) / height)
