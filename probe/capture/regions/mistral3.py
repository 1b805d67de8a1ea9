"""Mistral 3: images are stretched a little to whole merged patches; row breaks are text to this toolkit."""

from probe.capture.regions.base import REGIONS, Places, Prompt, grid


@REGIONS.register("mistral3")
def places(prompt: Prompt) -> Places:
    """`image_sizes` are those after resizing."""
    cell = prompt.config.vision_config.patch_size * prompt.config.spatial_merge_size
    for image, (height, width) in enumerate(prompt.inputs["image_sizes"].tolist()):
        yield from grid(image, height // cell, width // cell)
