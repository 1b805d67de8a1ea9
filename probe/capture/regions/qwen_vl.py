"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: images are resized slightly to whole patches, which are merged into tokens."""

from probe.capture.regions.base import REGIONS, Prompt, Regions, grid


@REGIONS.register("qwen2_vl")
@REGIONS.register("qwen2_5_vl")
@REGIONS.register("qwen3_vl")
def regions(prompt: Prompt) -> Regions:
    """Images, then videos, in which a token covers the same place in several frames and is assigned to the first."""
    tower = prompt.config.vision_config
    merge, image = tower.spatial_merge_size, 0
    for name, frames in (("image_grid_thw", 1), ("video_grid_thw", tower.temporal_patch_size)):
        for steps, rows, columns in [[int(n) for n in shape] for shape in prompt.inputs.get(name, ())]:
            for _ in range(steps):
                yield from grid(image, rows // merge, columns // merge)
                image += frames
