"""Tiny random models of classes that no family is registered for, and their image inputs; each image is 16 tokens."""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForImageTextToText, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from tests.tiny import (
    AROUND,
    IMAGE,
    MROPE,
    QWEN3_VISION,
    QWEN_IDS,
    VIDEO,
    Pixels,
    Text,
    images_of,
    patches,
    prepared,
    sized,
    text_config,
)

_TOWER: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2}
_CLIP = _TOWER | {"model_type": "clip_vision_model", "image_size": 32, "patch_size": 8, "projection_dim": 16}
_SIGLIP = _TOWER | {"model_type": "siglip_vision_model", "image_size": 32, "patch_size": 8, "vision_use_head": False}
_IDS: dict[str, Any] = {"image_token_id": IMAGE, "video_token_id": VIDEO}
_INDICES: dict[str, Any] = {"image_token_index": IMAGE, "video_token_index": VIDEO}


@dataclass(frozen=True)
class Unregistered:
    """What the tests have to know about a model class."""

    decoder: str
    """`model_type` of its decoder."""
    config: dict[str, Any]
    """Its config, but for the decoder's."""
    pixels: Pixels
    around: tuple[list[int], list[int]] = ([], [])
    """Tokens before and after each image."""
    kinds: bool = False
    """Whether it is told of each token whether it is text, 0, or image, 1."""
    text: Text | None = None
    """What the decoder's config has beside or instead of `text_config`'s."""


def named(name: str, pixels: Pixels) -> Pixels:
    """The same inputs with another name for the pixels."""

    def build(images: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        found = pixels(images, generator)
        return {name: found.pop("pixel_values"), **found}

    return build


_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "decoder_sparse_step": 1}

UNREGISTERED: dict[str, Unregistered] = {
    "aya_vision": Unregistered(
        "cohere2",
        {"vision_config": _SIGLIP | {"image_size": 64}, "image_token_index": IMAGE, "downsample_factor": 2},
        images_of(3, 64, 64),
    ),
    "cosmos3_omni": Unregistered(
        "qwen3_vl_text", QWEN_IDS | {"vision_config": QWEN3_VISION}, patches, AROUND, kinds=True
    ),
    "deepseek_vl": Unregistered("llama", _IDS | {"vision_config": _SIGLIP}, images_of(3, 32, 32)),
    "got_ocr2": Unregistered(
        "qwen2",
        {
            "image_token_index": IMAGE,
            "image_seq_length": 16,
            "vision_config": {
                "hidden_size": 16, "output_channels": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                "image_size": 256, "patch_size": 16, "window_size": 4, "global_attn_indexes": [1], "mlp_dim": 16,
                "initializer_range": 0.2,
            },
        },
        images_of(3, 256, 256),
    ),
    "idefics2": Unregistered(
        "mistral",
        _IDS | {
            "vision_config": _TOWER | {"image_size": 32, "patch_size": 8, "initializer_range": 0.2},
            "perceiver_config": {
                "resampler_n_latents": 16, "resampler_depth": 1, "resampler_n_heads": 2, "resampler_head_dim": 8,
                "num_key_value_heads": 1, "hidden_size": 32, "initializer_range": 0.2,
            },
        },
        lambda images, generator: {"pixel_values": torch.randn(1, images, 3, 32, 32, generator=generator)},
    ),
    "janus": Unregistered(
        "llama",
        _IDS | {
            "vision_config": {
                "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
                "projection_dim": 32, "num_image_tokens": 16, "initializer_range": 0.2, "mlp_ratio": 1.0,
            },
            "vq_config": {
                "embed_dim": 4, "num_embeddings": 8, "latent_channels": 32, "base_channels": 32,
                "channel_multiplier": [1], "num_res_blocks": 1, "projection_dim": 32, "image_token_embed_dim": 32,
            },
        },
        images_of(3, 32, 32),
    ),
    "lighton_ocr": Unregistered(
        "qwen3",
        _IDS | {
            "spatial_merge_size": 2,
            "vision_config": _TOWER | {
                "model_type": "pixtral", "image_size": 64, "patch_size": 8, "initializer_range": 0.2,
            },
        },
        sized(3, 64, 64, size=(64, 64)),
        text={"head_dim": 8},
    ),
    "llava_next_video": Unregistered(
        "llama",
        _INDICES | {
            "vision_config": _CLIP | {"patch_size": 16}, "image_grid_pinpoints": [[64, 32]], "image_seq_length": 4,
        },
        sized(3, 3, 32, 32, size=(64, 32)),
    ),
    "ovis2": Unregistered(
        "qwen2",
        {
            "image_token_id": IMAGE, "visual_indicator_token_ids": [55, 56, 57, 58, 59], "hidden_size": 32,
            "vocab_size": 64,
            "vision_config": _TOWER | {
                "image_size": 32, "patch_size": 8, "vocab_size": 32, "hidden_stride": 1, "initializer_range": 0.2,
            },
        },
        images_of(3, 32, 32),
    ),
    "paddleocr_vl": Unregistered(
        "paddleocr_vl_text",
        QWEN_IDS | {"vision_config": _TOWER | {"image_size": 64, "patch_size": 8, "spatial_merge_size": 2}},
        lambda images, generator: {
            "pixel_values": torch.randn(images * 64, 3, 8, 8, generator=generator),
            "image_grid_thw": torch.tensor([[1, 8, 8]] * images),
        },
        AROUND,
        kinds=True,
        text={"rope_parameters": MROPE, "head_dim": 8},
    ),
    "qianfan_ocr": Unregistered(
        "qwen3",
        _IDS | {
            "image_seq_length": 16,
            "vision_config": _TOWER | {"image_size": [64, 64], "patch_size": [8, 8], "initializer_range": 0.2},
        },
        images_of(3, 64, 64),
        text={"head_dim": 8},
    ),
    "qwen3_vl_moe": Unregistered(
        "qwen3_vl_moe_text", QWEN_IDS | {"vision_config": QWEN3_VISION}, patches, AROUND, kinds=True,
        text=_EXPERTS | {"rope_parameters": MROPE | {"mrope_interleaved": True}, "head_dim": 8},
    ),
    "video_llama_3": Unregistered(
        "qwen2",
        _IDS | {"vision_config": _TOWER | {"patch_size": 8, "initializer_range": 0.2}},
        lambda images, generator: {
            "pixel_values": torch.randn(images * 64, 3 * 8 * 8, generator=generator),
            "image_grid_thw": torch.tensor([[1, 8, 8]] * images),
            "image_merge_sizes": torch.tensor([2] * images),
        },
    ),
    "video_llava": Unregistered(
        "llama",
        _INDICES | {"vision_config": _CLIP, "image_seq_length": 16, "video_seq_length": 17},
        named("pixel_values_images", images_of(3, 32, 32)),
    ),
    "vipllava": Unregistered(
        "llama",
        {"vision_config": _CLIP, "image_token_index": IMAGE, "image_seq_length": 16, "vision_feature_layers": [-1, -2]},
        images_of(3, 32, 32),
    ),
}  # fmt: skip
"""By `model_type`."""


def unregistered_model(model_type: str, seed: int = 0) -> PreTrainedModel:
    """A tiny random model in eval mode, greedy, never stopping early."""
    torch.manual_seed(seed)
    known = UNREGISTERED[model_type]
    text = text_config("llama") | {"num_key_value_heads": 2, "model_type": known.decoder} | (known.text or {})
    config = CONFIG_MAPPING[model_type](text_config=text, **known.config)
    return prepared(AutoModelForImageTextToText.from_config(config))


def unregistered_prompt(model_type: str, images: int = 1, seed: int = 0) -> dict[str, torch.Tensor]:
    """Model inputs of one prompt: text, images of 16 visual tokens, text."""
    known, generator = UNREGISTERED[model_type], torch.Generator().manual_seed(seed)
    ids = torch.randint(2, 54, (4,), generator=generator).tolist()
    for _ in range(images):
        ids += known.around[0] + [IMAGE] * 16 + known.around[1]
    ids += torch.randint(2, 54, (6,), generator=generator).tolist()
    inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
    if known.kinds:
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == IMAGE).int()
    return inputs | known.pixels(images, generator)
