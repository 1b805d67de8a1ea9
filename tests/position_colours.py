"""Where visual tokens really look: position-coloured images through the real processor and the model's own connector.

A pixel's colour is (x, y, 1) in shares of the image and padding is black, so that the mean colour (r, g, b) of what a
token sees says where that is, (r/b, g/b), and how much of it is image, b. The vision tower is replaced by the mean
colour of each patch, and learnt matrices by means; how patches are ordered, merged, cut and joined stays the model's.
The processors are torchvision's where it is installed, else Pillow's.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn.functional import avg_pool2d
from transformers import (
    CLIPImageProcessor,
    Gemma3ImageProcessor,
    GotOcr2ImageProcessor,
    Idefics3ImageProcessor,
    LlavaImageProcessor,
    LlavaNextImageProcessor,
    LlavaOnevisionImageProcessor,
    PixtralImageProcessor,
    PreTrainedModel,
    Qwen2VLImageProcessor,
    SmolVLMImageProcessor,
)

from tests.tiny import IMAGE, tiny_model

NOWHERE = -1.0
"""Colour of what is no part of an image: newlines, and the tower's class token."""

PATCH = 8


class Does(nn.Module):
    """A module that is a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function
        self.patch_size = PATCH
        self.weight = nn.Parameter(torch.zeros(1))  # says which dtype it computes in

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)


def mean_of(count: int) -> Does:
    """(..., count * 3) -> (..., 3)."""
    return Does(lambda states: states.unflatten(-1, (count, 3)).mean(-2))


def tower(class_token: bool) -> Does:
    """(images, 3, H, W) -> hidden states (images, patches, 3)."""

    def look(pixel_values: torch.Tensor, **_: Any) -> Any:
        states = avg_pool2d(pixel_values, PATCH).flatten(2).mT.contiguous()
        if class_token:
            states = torch.cat([torch.full_like(states[:, :1], NOWHERE), states], 1)
        return SimpleNamespace(hidden_states=[states] * 4, last_hidden_state=states)

    return Does(look)


def packed_tower() -> Does:
    """Pixtral's: each image without its padding, all in one row."""

    def look(pixel_values: torch.Tensor, image_sizes: torch.Tensor, **_: Any) -> Any:
        own = [image[:, :height, :width] for image, (height, width) in zip(pixel_values, image_sizes, strict=True)]
        states = torch.cat([avg_pool2d(image, PATCH).flatten(1).T for image in own])[None]
        return SimpleNamespace(hidden_states=[states] * 4)

    return Does(look)


def plain(model: Any) -> None:
    """A projector that works token by token."""
    model.model.multi_modal_projector = nn.Identity()
    model.model.image_newline = nn.Parameter(torch.full((3,), NOWHERE))


def shuffled(model: Any) -> None:
    model.model.multi_modal_projector = mean_of(4)


def connected(model: Any) -> None:
    model.model.connector.modality_projection = mean_of(4)


def pooled(model: Any) -> None:
    projector = model.model.multi_modal_projector
    projector.mm_soft_emb_norm = nn.Identity()
    projector.mm_input_projection_weight = nn.Parameter(torch.eye(3))


def unfolded(model: Any) -> None:
    projector = model.model.multi_modal_projector
    projector.norm = projector.linear_1 = projector.act = projector.linear_2 = nn.Identity()
    projector.patch_merger.merging_layer = Does(lambda states: states.unflatten(-1, (3, 4)).mean(-1))


def merged(model: Any) -> None:
    """Qwen's tower, which undoes its own windows: embedding and merger become means, and its blocks go."""
    visual = model.model.visual
    width = visual.config.hidden_size if hasattr(visual, "pos_embed") else 16

    def embed(patches: torch.Tensor) -> torch.Tensor:
        colours = patches.view(len(patches), 3, -1).mean(-1)
        return torch.cat([colours, colours.new_zeros(len(patches), width - 3)], 1)

    visual.patch_embed = Does(embed)
    visual.blocks = nn.ModuleList()
    visual.merger = Does(lambda states: states[:, :3].unflatten(0, (-1, 4)).mean(1))
    if hasattr(visual, "pos_embed"):
        nn.init.zeros_(visual.pos_embed.weight)


_RAW: dict[str, Any] = {"do_normalize": False, "image_mean": [0.0, 0.0, 0.0]}
_PINPOINTS = [[32, 64], [64, 32], [64, 64], [32, 96], [96, 32], [128, 64], [64, 128], [128, 128]]
_ANYRES = {"image_grid_pinpoints": _PINPOINTS}
_SQUARE = {"height": 32, "width": 32}
_SIXTY_FOUR = {"height": 64, "width": 64}


@dataclass(frozen=True)
class Setup:
    """One way in which a family's checkpoints look at images."""

    family: str
    processor: Any
    connect: Callable[[Any], None]
    tower: Callable[[], Does] | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    """Set in the model's config."""
    nested: bool = False
    """Whether the images of a prompt come as a list of their own."""
    call: tuple[tuple[str, Any], ...] = ()
    """What the family's processor asks its image processor for."""


def _clip() -> Does:
    return tower(class_token=True)


def _siglip() -> Does:
    return tower(class_token=False)


def _qwen() -> Any:
    size = {"shortest_edge": 32 * 32, "longest_edge": 128 * 128}
    return Qwen2VLImageProcessor(patch_size=8, merge_size=2, temporal_patch_size=2, size=size, **_RAW)


def _idefics(kind: Any, **options: Any) -> Any:
    return kind(size={"longest_edge": 192}, max_image_size={"longest_edge": 64}, **options, **_RAW)


def _llava(**options: Any) -> Any:
    return LlavaImageProcessor(**{"size": {"shortest_edge": 32}, "crop_size": _SQUARE} | options, **_RAW)


_PAN = {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 8, "pan_and_scan_max_num_crops": 4,
        "pan_and_scan_min_ratio_to_activate": 1.2}  # fmt: skip
_ONEVISION = LlavaOnevisionImageProcessor(size=_SQUARE, image_grid_pinpoints=_PINPOINTS, **_RAW)
SETUPS = {
    "llava": Setup("llava", CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=_SQUARE, **_RAW), plain, _clip),
    "llava padded": Setup("llava", _llava(do_pad=True), plain, _clip),
    "llava stretched": Setup("llava", _llava(size=_SQUARE, do_center_crop=False), plain, _clip),
    "llava cropped": Setup("llava", _llava(size={"shortest_edge": 40}), plain, _clip),
    "llava with class token": Setup("llava", _llava(), plain, _clip, {"vision_feature_select_strategy": "full"}),
    "llava_next": Setup(
        "llava_next",
        LlavaNextImageProcessor(size={"shortest_edge": 32}, crop_size=_SQUARE, image_grid_pinpoints=_PINPOINTS, **_RAW),
        plain,
        _clip,
        _ANYRES,
    ),
    "llava_onevision": Setup("llava_onevision", _ONEVISION, plain, _siglip, _ANYRES),
    "llava_onevision nested": Setup("llava_onevision", _ONEVISION, plain, _siglip, _ANYRES, nested=True),
    "qwen2_vl": Setup("qwen2_vl", _qwen(), merged),
    "qwen2_5_vl": Setup("qwen2_5_vl", _qwen(), merged),
    "qwen3_vl": Setup("qwen3_vl", _qwen(), merged),
    "internvl": Setup("internvl", GotOcr2ImageProcessor(size=_SIXTY_FOUR, **_RAW), shuffled, _clip),
    "internvl tiles": Setup(
        "internvl",
        GotOcr2ImageProcessor(size=_SIXTY_FOUR, **_RAW),
        shuffled,
        _clip,
        call=(("crop_to_patches", True),),
    ),
    "idefics3": Setup("idefics3", _idefics(Idefics3ImageProcessor), connected, _siglip, nested=True),
    "idefics3 unsplit": Setup(
        "idefics3", _idefics(Idefics3ImageProcessor, do_image_splitting=False), connected, _siglip, nested=True
    ),
    "smolvlm": Setup("smolvlm", _idefics(SmolVLMImageProcessor), connected, _siglip, nested=True),
    "gemma3": Setup("gemma3", Gemma3ImageProcessor(size=_SIXTY_FOUR, **_RAW), pooled, _siglip),
    "gemma3 pan and scan": Setup("gemma3", Gemma3ImageProcessor(size=_SIXTY_FOUR, **_PAN, **_RAW), pooled, _siglip),
    "mistral3": Setup(
        "mistral3",
        PixtralImageProcessor(patch_size={"height": 16, "width": 16}, size={"longest_edge": 128}, **_RAW),
        unfolded,
        packed_tower,
    ),
}
"""By name; every family with a mapping is among them."""


def coloured(width: int, height: int) -> Image.Image:
    """An image whose pixels say where they are."""
    pixels = np.empty((height, width, 3))
    pixels[..., 0] = (np.arange(width) + 0.5) / width
    pixels[..., 1] = (np.arange(height)[:, None] + 0.5) / height
    pixels[..., 2] = 1.0
    return Image.fromarray((pixels * 255).round().astype(np.uint8))


def looking(setup: Setup) -> PreTrainedModel:
    """A tiny model of the family that sees colours."""
    model: Any = tiny_model(setup.family)
    model.config.vision_config.patch_size = (
        [PATCH, PATCH] if isinstance(model.config.vision_config.patch_size, list) else PATCH
    )
    for name, value in setup.config.items():
        setattr(model.config, name, value)
    if setup.tower is not None:
        name = "vision_model" if hasattr(model.model, "vision_model") else "vision_tower"
        setattr(model.model, name, setup.tower())
    setup.connect(model)
    return model  # type: ignore[no-any-return]


@torch.no_grad()
def seen(setup: Setup, model: Any, images: Sequence[Image.Image]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Model inputs of a prompt with these images, and the colour (tokens, 3) of each of its visual tokens."""
    given = [list(images)] if setup.nested else list(images)
    inputs = dict(setup.processor(images=given, return_tensors="pt", **dict(setup.call)))
    taken = inspect.signature(model.model.get_image_features).parameters.keys() - {"pixel_attention_mask"}
    out = model.model.get_image_features(**{name: value for name, value in inputs.items() if name in taken})
    colours = torch.cat([one.reshape(-1, one.shape[-1]) for one in out.pooler_output])
    ids = torch.full((1, len(colours) + 2), IMAGE)
    ids[0, [0, -1]] = 5
    return inputs | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}, colours
