"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: images are resized slightly to whole patches, which are merged into tokens."""

from collections.abc import Sequence

from probe.capture.regions.base import REGIONS, Prompt, Regions, grid, in_order


@REGIONS.register("qwen2_vl")
@REGIONS.register("qwen2_5_vl")
@REGIONS.register("qwen3_vl")
def regions(prompt: Prompt) -> Regions:
    """Images, and videos, in which a token covers the same place in several frames and is assigned to the first."""
    images, videos = (_shapes(prompt, f"{kind}_grid_thw") for kind in ("image", "video"))
    together = prompt.config.vision_config.temporal_patch_size
    counts = prompt.frames or [steps * together for steps, *_ in videos]
    first = [len(images) + sum(counts[:number]) for number in range(len(videos))]
    yield from in_order(
        prompt,
        _grids(prompt, images, range(len(images)), 1),
        _grids(prompt, videos, first, together),
    )


def _shapes(prompt: Prompt, name: str) -> list[list[int]]:
    """(steps in time, rows, columns) of each image or video, in patches."""
    return [[int(side) for side in shape] for shape in prompt.inputs.get(name, ())]


def _grids(prompt: Prompt, shapes: Sequence[Sequence[int]], first: Sequence[int], together: int) -> Regions:
    """The grids of images or videos, the first of which has this index; a token covers so many frames together."""
    merge = prompt.config.vision_config.spatial_merge_size
    for (steps, rows, columns), image in zip(shapes, first, strict=True):
        for step in range(steps):
            yield from grid(image + step * together, rows // merge, columns // merge)
