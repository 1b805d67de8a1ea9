"""Synthetic model inputs of a given size, without a processor or an image: random pixels and random text.

Latency does not depend on the content of an image, only on its number of tokens. Each `model_type` has a function from
a config and a wanted number of visual tokens to the inputs for one image of the nearest size that the family supports.
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
from halfv_core.placement import device_of
from halfv_core.processors import Inputs
from halfv_core.registry import Registry

ImageInputs = tuple[int, dict[str, torch.Tensor]]
"""The number of visual tokens of one image, and the model's inputs for it."""
ImageMaker = Callable[[Any, int, torch.Generator], ImageInputs]
"""Takes the model's config, the wanted number of visual tokens, and a generator for the pixels."""

TOKEN_TYPE_INPUTS = {
    "gemma3": "token_type_ids",
    "qwen2_vl": "mm_token_type_ids",
    "qwen2_5_vl": "mm_token_type_ids",
    "qwen3_vl": "mm_token_type_ids",
}
"""`model_type` -> name of the input that marks image tokens, for families that have one."""

IMAGE_MAKERS: Registry[ImageMaker] = Registry("model_type for synthetic inputs", UnsupportedError)


def synthetic_inputs(
    model: PreTrainedModel, *, visual_tokens: int, text_tokens: int = 60, batch: int = 1, seed: int = 0
) -> Inputs:
    """Inputs of a prompt with one image between two halves of text; all rows of the batch have the same size.

    Args:
        visual_tokens: wanted number of visual tokens; the nearest size that the family supports is used.
        text_tokens: number of all other tokens, including those that a family puts around an image; at least 4.

    Returns:
        Inputs for `model(**inputs)` on the model's device; `input_ids` is (batch, visual + text).

    Raises:
        UnsupportedError: no inputs can be built for this family, or there are too few text tokens.
    """
    config = model.config
    make_image = IMAGE_MAKERS[config.model_type]
    check_text(text_tokens)
    generator = torch.Generator().manual_seed(seed)
    images = [make_image(config, visual_tokens, generator) for _ in range(batch)]
    ids = torch.stack([_prompt(model, visual, text_tokens, generator) for visual, _ in images])
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if config.model_type in TOKEN_TYPE_INPUTS:
        inputs[TOKEN_TYPE_INPUTS[config.model_type]] = (ids == config.image_token_id).int()
    for name in images[0][1]:
        joined = torch.cat([image[name] for _, image in images])
        inputs[name] = joined.to(model.dtype) if joined.is_floating_point() else joined
    return {name: value.to(device_of(model)) for name, value in inputs.items()}


def check_text(tokens: int) -> None:
    """Raise UnsupportedError if there are too few text tokens for what a family puts around an image."""
    if tokens < 4:
        raise UnsupportedError("too little text around the image", got=tokens, expected="4 tokens or more")


def _prompt(model: PreTrainedModel, visual: int, text: int, generator: torch.Generator) -> torch.Tensor:
    """Token ids of one prompt, (visual + text,)."""
    config = model.config
    start, end = (
        [getattr(config, name)] if getattr(config, name, None) is not None else []
        for name in ("vision_start_token_id", "vision_end_token_id")
    )
    plain = torch.ones(config.get_text_config().vocab_size, dtype=torch.bool)
    plain[[*parts_of(model).visual_ids, *start, *end]] = False
    text_ids = plain.nonzero()[:, 0]
    drawn = text_ids[torch.randint(len(text_ids), (text - len(start) - len(end),), generator=generator)].tolist()
    half = len(drawn) // 2
    return torch.tensor([*drawn[:half], *start, *[config.image_token_id] * visual, *end, *drawn[half:]])


@IMAGE_MAKERS.register("qwen2_vl")
@IMAGE_MAKERS.register("qwen2_5_vl")
@IMAGE_MAKERS.register("qwen3_vl")
def _flat_patches(config: Any, wanted: int, generator: torch.Generator) -> ImageInputs:
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
    """(height, width) in tokens: the product nearest to `wanted`, at most about 1:2, and as square as possible."""
    heights = range(max(1, round((wanted / 2) ** 0.5)), round(wanted**0.5) + 1)
    grids = [(height, max(1, round(wanted / height))) for height in heights]
    return min(grids, key=lambda grid: (abs(grid[0] * grid[1] - wanted), grid[1] - grid[0]))


@IMAGE_MAKERS.register("mistral3")
def _merged_patches(config: Any, wanted: int, generator: torch.Generator) -> ImageInputs:
    """A grid as for Qwen-VL, limited to the largest image that the vision tower accepts."""
    vision = config.vision_config
    token = vision.patch_size * config.spatial_merge_size
    height, width = (min(side, vision.image_size // token) for side in _grid(wanted))
    size = height * token, width * token
    pixels = torch.randn(1, 3, *size, generator=generator)
    return height * width, {"pixel_values": pixels, "image_sizes": torch.tensor([size])}


@IMAGE_MAKERS.register("idefics3")
@IMAGE_MAKERS.register("smolvlm")
def _tiles(config: Any, wanted: int, generator: torch.Generator) -> ImageInputs:
    """The number of tiles that comes nearest; every tile gives the same number of tokens."""
    side = config.vision_config.image_size
    each = (side // config.vision_config.patch_size // config.scale_factor) ** 2
    tiles = max(1, round(wanted / each))
    return tiles * each, {"pixel_values": torch.randn(1, tiles, 3, side, side, generator=generator)}


@IMAGE_MAKERS.register("gemma3")
def _pooled(config: Any, wanted: int, generator: torch.Generator) -> ImageInputs:
    """Every image gives the same number of tokens."""
    side = config.vision_config.image_size
    return config.mm_tokens_per_image, {"pixel_values": torch.randn(1, 3, side, side, generator=generator)}


@IMAGE_MAKERS.register("llava")
def _square(config: Any, wanted: int, generator: torch.Generator) -> ImageInputs:
    """Every image gives the same number of tokens."""
    side = config.vision_config.image_size
    return config.image_seq_length, {"pixel_values": torch.randn(1, 3, side, side, generator=generator)}


@IMAGE_MAKERS.register("internvl")
def _tile(config: Any, wanted: int, generator: torch.Generator) -> ImageInputs:
    """A single tile; every tile gives the same number of tokens."""
    height, width = config.vision_config.image_size
    return config.image_seq_length, {"pixel_values": torch.randn(1, 3, height, width, generator=generator)}


@IMAGE_MAKERS.register("llava_onevision")
def _few_tiles(config: Any, wanted: int, generator: torch.Generator) -> ImageInputs:
    """As for LLaVA-NeXT, with at most as many tiles as the model does not shrink."""
    most, side = int(config.vision_aspect_ratio.removeprefix("anyres_max_")), config.vision_config.image_size
    few = [size for size in config.image_grid_pinpoints if size[0] * size[1] <= most * side**2]
    return _tiled(config, few, wanted, generator)


@IMAGE_MAKERS.register("llava_next")
def _any_resolution(config: Any, wanted: int, generator: torch.Generator) -> ImageInputs:
    """A base tile and a grid of tiles; the model removes padding, so the image size determines the token count."""
    return _tiled(config, config.image_grid_pinpoints, wanted, generator)


def _tiled(config: Any, pinpoints: Sequence[Sequence[int]], wanted: int, generator: torch.Generator) -> ImageInputs:
    side = config.vision_config.image_size
    step = config.vision_config.patch_size
    sizes = {(height, cut) for height, width in pinpoints for cut in range(width // 2, width + 1, step)}
    sizes |= {(cut, width) for height, width in pinpoints for cut in range(height // 2, height + 1, step)}
    size = min(sorted(sizes), key=lambda size: (abs(_any_resolution_tokens(config, size) - wanted), -min(size)))
    tiles = image_size_to_num_patches(size, config.image_grid_pinpoints, side)
    pixels = torch.randn(1, tiles, 3, side, side, generator=generator)
    return _any_resolution_tokens(config, size), {"pixel_values": pixels, "image_sizes": torch.tensor([size])}


def _any_resolution_tokens(config: Any, size: tuple[int, int]) -> int:
    """Number of tokens of an image of (height, width) pixels: base tile, grid without padding, a newline per row."""
    side = config.vision_config.image_size // config.vision_config.patch_size
    rows, columns = get_anyres_image_grid_shape(size, config.image_grid_pinpoints, config.vision_config.image_size)
    grid = unpad_image(torch.empty(1, rows * side, columns * side, device="meta"), size)
    return int(side**2 + grid.shape[1] * (grid.shape[2] + 1))
