"""Mistral 3: images are resized slightly to whole merged patches; row-break tokens count as text."""

from probe.capture.regions.base import REGIONS, Prompt, Regions, grid


@REGIONS.register("mistral3")
def regions(prompt: Prompt) -> Regions:
    """One grid per image; `image_sizes` holds the sizes after resizing."""
    cell = prompt.config.vision_config.patch_size * prompt.config.spatial_merge_size
    for image, (height, width) in enumerate(prompt.inputs["image_sizes"].tolist()):
        yield from grid(image, height // cell, width // cell)
