"""Inputs of a wanted size for a model, without a processor or an image: random pixels, random text.

A time does not depend on what is in the picture, only on how many tokens it makes. Each `model_type` has a function
from a config and a wanted number of visual tokens to one image of the nearest size that the family can have.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.models.llava_next.modeling_llava_next import (
    get_anyres_image_grid_shape,
    image_size_to_num_patches,
    unpad_image,
)

from halfv_core.errors import UnsupportedError
from halfv_core.families import parts_of
from halfv_core.processors import Inputs
from halfv_core.registry import Registry

Picture = tuple[int, dict[str, torch.Tensor]]
"""Visual tokens of one image, and the model's image inputs for it, floats where there are pixels."""
Painter = Callable[[Any, int, torch.Generator], Picture]
"""From a config, the wanted number of visual tokens, and a source of noise."""

KINDS = {
    "gemma3": "token_type_ids",
    "qwen2_vl": "mm_token_type_ids",
    "qwen2_5_vl": "mm_token_type_ids",
    "qwen3_vl": "mm_token_type_ids",
}
"""Families that ask which tokens are an image's, and the name of that input."""

PAINTERS: Registry[Painter] = Registry("model_type for synthetic inputs", UnsupportedError)


def synthetic_inputs(
    model: PreTrainedModel, *, visual_tokens: int, text_tokens: int = 60, batch: int = 1, seed: int = 0
) -> Inputs:
    """Inputs of a prompt with one image between two halves of text, alike in all rows of the batch but for the noise.

    Args:
        visual_tokens: wanted; the nearest size that the family's images can have is taken.
        text_tokens: all that is not visual, what a family puts around an image included; 4 or more.

    Returns:
        what `model(**inputs)` takes, on the model's device; `input_ids` is (batch, visual + text).

    Raises:
        UnsupportedError: no inputs can be built for this family, or too little text.
    """
    config = model.config
    paint = PAINTERS[config.model_type]
    if text_tokens < 4:
        raise UnsupportedError("too little text around the image", got=text_tokens, expected="4 tokens or more")
    generator = torch.Generator().manual_seed(seed)
    pictures = [paint(config, visual_tokens, generator) for _ in range(batch)]
    ids = torch.stack([_prompt(model, visual, text_tokens, generator) for visual, _ in pictures])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if config.model_type in KINDS:
        inputs[KINDS[config.model_type]] = (ids == config.image_token_id).int()
    for name in pictures[0][1]:
        joined = torch.cat([image[name] for _, image in pictures])
        inputs[name] = joined.to(model.dtype) if joined.is_floating_point() else joined
    return {name: value.to(model.device) for name, value in inputs.items()}


def _prompt(model: PreTrainedModel, visual: int, text: int, generator: torch.Generator) -> torch.Tensor:
    """(visual + text,) ids."""
    config = model.config
    start, end = (
        [getattr(config, name)] if getattr(config, name, None) is not None else []
        for name in ("vision_start_token_id", "vision_end_token_id")
    )
    plain = torch.ones(config.get_text_config().vocab_size, dtype=torch.bool)
    plain[[*parts_of(model).visual_ids, *start, *end]] = False
    words = plain.nonzero()[:, 0]
    drawn = words[torch.randint(len(words), (text - len(start) - len(end),), generator=generator)].tolist()
    half = len(drawn) // 2
    return torch.tensor([*drawn[:half], *start, *[config.image_token_id] * visual, *end, *drawn[half:]])


@PAINTERS.register("qwen2_vl")
@PAINTERS.register("qwen2_5_vl")
@PAINTERS.register("qwen3_vl")
def _flat_patches(config: Any, wanted: int, generator: torch.Generator) -> Picture:
    """A grid of merged patches."""
    vision = config.vision_config
    height, width = _grid(wanted)
    merge = vision.spatial_merge_size
    channels = getattr(vision, "in_channels", 3)
    size = channels * vision.temporal_patch_size * vision.patch_size**2
    pixels = torch.randn(height * width * merge**2, size, generator=generator)
    grid = torch.tensor([[1, height * merge, width * merge]])
    return height * width, {"pixel_values": pixels, "image_grid_thw": grid}


def _grid(wanted: int) -> tuple[int, int]:
    """(height, width) in tokens: up to twice as wide as high, the nearest in number, and of those the squarest."""
    heights = range(max(1, round((wanted / 2) ** 0.5)), round(wanted**0.5) + 1)
    grids = [(height, max(1, round(wanted / height))) for height in heights]
    return min(grids, key=lambda grid: (abs(grid[0] * grid[1] - wanted), grid[1] - grid[0]))


@PAINTERS.register("mistral3")
def _merged_patches(config: Any, wanted: int, generator: torch.Generator) -> Picture:
    """A grid like Qwen-VL's, of an image that is no larger than the tower takes."""
    vision = config.vision_config
    token = vision.patch_size * config.spatial_merge_size
    height, width = (min(side, vision.image_size // token) for side in _grid(wanted))
    size = height * token, width * token
    pixels = torch.randn(1, 3, *size, generator=generator)
    return height * width, {"pixel_values": pixels, "image_sizes": torch.tensor([size])}


@PAINTERS.register("idefics3")
@PAINTERS.register("smolvlm")
def _tiles(config: Any, wanted: int, generator: torch.Generator) -> Picture:
    """As many tiles as come nearest; every tile makes the same number of tokens."""
    side = config.vision_config.image_size
    each = (side // config.vision_config.patch_size // config.scale_factor) ** 2
    tiles = max(1, round(wanted / each))
    return tiles * each, {"pixel_values": torch.randn(1, tiles, 3, side, side, generator=generator)}


@PAINTERS.register("gemma3")
def _pooled(config: Any, wanted: int, generator: torch.Generator) -> Picture:
    """Every image makes the same number of tokens."""
    side = config.vision_config.image_size
    return config.mm_tokens_per_image, {"pixel_values": torch.randn(1, 3, side, side, generator=generator)}


@PAINTERS.register("llava")
def _square(config: Any, wanted: int, generator: torch.Generator) -> Picture:
    """Every image makes the same number of tokens."""
    side = config.vision_config.image_size
    return config.image_seq_length, {"pixel_values": torch.randn(1, 3, side, side, generator=generator)}


@PAINTERS.register("internvl")
def _tile(config: Any, wanted: int, generator: torch.Generator) -> Picture:
    """One tile; every tile makes the same number of tokens."""
    height, width = config.vision_config.image_size
    return config.image_seq_length, {"pixel_values": torch.randn(1, 3, height, width, generator=generator)}


@PAINTERS.register("llava_onevision")
def _few_tiles(config: Any, wanted: int, generator: torch.Generator) -> Picture:
    """As LLaVA-NeXT, with no more tiles than the model leaves in full size."""
    most, side = int(config.vision_aspect_ratio.removeprefix("anyres_max_")), config.vision_config.image_size
    few = [size for size in config.image_grid_pinpoints if size[0] * size[1] <= most * side**2]
    return _tiled(config, few, wanted, generator)


@PAINTERS.register("llava_next")
def _any_resolution(config: Any, wanted: int, generator: torch.Generator) -> Picture:
    """A base tile and a grid of tiles, of which the model cuts off padding: tokens go by the image's size in pixels."""
    return _tiled(config, config.image_grid_pinpoints, wanted, generator)


def _tiled(config: Any, pinpoints: Sequence[Sequence[int]], wanted: int, generator: torch.Generator) -> Picture:
    side = config.vision_config.image_size
    step = config.vision_config.patch_size
    sizes = {(height, cut) for height, width in pinpoints for cut in range(width // 2, width + 1, step)}
    sizes |= {(cut, width) for height, width in pinpoints for cut in range(height // 2, height + 1, step)}
    size = min(sorted(sizes), key=lambda size: (abs(_any_resolution_tokens(config, size) - wanted), -min(size)))
    tiles = image_size_to_num_patches(size, config.image_grid_pinpoints, side)
    pixels = torch.randn(1, tiles, 3, side, side, generator=generator)
    return _any_resolution_tokens(config, size), {"pixel_values": pixels, "image_sizes": torch.tensor([size])}


def _any_resolution_tokens(config: Any, size: tuple[int, int]) -> int:
    """Tokens of an image of (height, width) pixels: base tile, grid without padding, a newline at each row's end."""
    side = config.vision_config.image_size // config.vision_config.patch_size
    rows, columns = get_anyres_image_grid_shape(size, config.image_grid_pinpoints, config.vision_config.image_size)
    grid = unpad_image(torch.empty(1, rows * side, columns * side, device="meta"), size)
    return int(side**2 + grid.shape[1] * (grid.shape[2] + 1))
