"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: images are stretched a little to whole patches, which are merged into tokens."""

from probe.capture.regions.base import REGIONS, Places, Prompt, grid


@REGIONS.register("qwen2_vl")
@REGIONS.register("qwen2_5_vl")
@REGIONS.register("qwen3_vl")
def places(prompt: Prompt) -> Places:
    """Images, then videos, where a token stands for the same place in some frames and is shown on the first of them."""
    tower = prompt.config.vision_config
    merge, picture = tower.spatial_merge_size, 0
    for kind, pictures in (("image_grid_thw", 1), ("video_grid_thw", tower.temporal_patch_size)):
        for times, rows, columns in [[int(n) for n in shape] for shape in prompt.inputs.get(kind, ())]:
            for _ in range(times):
                yield from grid(picture, rows // merge, columns // merge)
                picture += pictures
