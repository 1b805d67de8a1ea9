"""What the tests have to know of model classes that no family is registered for, beyond their config classes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from tests.tiny import AROUND, END, EOS, IMAGE, LAYERS, MROPE, START, VOCAB, Pixels, images_of, patches, sized

SMALL_TEXT: dict[str, Any] = {
    "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": LAYERS,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 512,
    "initializer_range": 0.2, "bos_token_id": 0, "eos_token_id": EOS, "pad_token_id": 0,
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4, "num_experts_per_tok": 2,
    "moe_k": 2, "moe_topk": 2, "moe_intermediate_size": 24, "n_shared_experts": 1, "moe_num_shared_experts": 1,
    "shared_expert_intermediate_size": 24, "shared_intermediate_size": 24, "dense_intermediate_size": 48,
    "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
    "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
}  # fmt: skip
"""Sizes of decoders, by the names that config classes have for them."""


@dataclass(frozen=True)
class TinyClass:
    """How a tiny model of a class is built by `tests.any_model`, and what it is given of an image."""

    pixels: Pixels
    given: dict[str, Any] = field(default_factory=dict)
    """Fields of its config that have other values than `any_config` gives them."""
    around: tuple[list[int], list[int]] = ([], [])
    """Tokens before and after each image."""
    image: list[int] = field(default_factory=lambda: [IMAGE] * 16)
    """Tokens of an image."""
    kinds: tuple[str, ...] = ()
    """Inputs that say of each token whether it is text, 0, or image, 1."""


def grid_of(*shape: int, names: tuple[str, str] = ("pixel_values", "image_grid_thw")) -> Pixels:
    """8 x 8 patches of a shape, and their grid, for each image."""

    def build(images: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        pixels = torch.randn(images * 64, *shape, generator=generator)
        return {names[0]: pixels, names[1]: torch.tensor([[1, 8, 8]] * images)}

    return build


def with_more(pixels: Pixels, more: Callable[[int], dict[str, torch.Tensor]]) -> Pixels:
    """The same inputs and others, which are made for so many images."""
    return lambda images, generator: pixels(images, generator) | more(images)


def packed(side: int) -> Pixels:
    """Side x side patches of 8 px for each image, those of all images side by side in one row, and their sizes."""
    return lambda images, generator: {
        "pixel_values": torch.randn(1, 3, 8, images * side * side * 8, generator=generator),
        "target_sizes": torch.tensor([[side, side]] * images, dtype=torch.int32),
    }


def named(name: str, pixels: Pixels) -> Pixels:
    """The same inputs with another name for the pixels."""

    def build(images: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        found = pixels(images, generator)
        return {name: found.pop("pixel_values"), **found}

    return build


def _of(decoder: str) -> dict[str, Any]:
    """A decoder's config, for classes that take different ones."""
    return {"model_type": decoder}


_MM = ("mm_token_type_ids",)
_SIGLIP = {"model_type": "siglip_vision_model", "vision_use_head": False}
_WINDOWED = {"window_size": 32, "fullatt_block_indexes": [0], "temporal_patch_size": 2}
_HALF_ROTARY = {"rope_parameters": {**MROPE, "partial_rotary_factor": 0.5, "mrope_section": [1, 1, 0]}}
_AXES = {"rope_parameters": MROPE}
_MARKS = {
    "image_start_token_id": START, "image_end_token_id": END, "video_start_token_id": 58, "video_end_token_id": 57,
}  # fmt: skip
_GLM = TinyClass(patches, _MARKS | {"text_config": _HALF_ROTARY}, AROUND, kinds=_MM)
_INTERLEAVED = {"rope_parameters": MROPE | {"mrope_interleaved": True}}
_QWEN3_TOWER = {"num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]}
_QWEN = {"vision_start_token_id": START, "vision_end_token_id": END}
_CLIP = {"model_type": "clip_vision_model", "image_size": 32, "projection_dim": 16}
_SLIDING = ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention", "full_attention"]
_EARS = {"num_hidden_layers": 4, "hidden_sizes": [8] * 4, "depths": [1] * 4}
_AUDIO: dict[str, Any] = {"audio_token_id": 59, "vision_start_token_id": START, "vision_end_token_id": END}

_QWEN35 = _QWEN | {
    "vision_config": {"num_position_embeddings": 64},
    "text_config": {
        "rope_parameters": MROPE | {"mrope_interleaved": True, "partial_rotary_factor": 1.0},
        "layer_types": ["linear_attention", "full_attention", "linear_attention", "linear_attention", "full_attention"],
    },
}
_GOT = TinyClass(
    images_of(3, 256, 256),
    {
        "image_seq_length": 16,
        "text_config": _of("qwen2"),
        "vision_config": {
            "output_channels": 16, "image_size": 256, "patch_size": 16, "window_size": 4, "global_attn_indexes": [1],
            "mlp_dim": 16, "initializer_range": 0.2,
        },
    },
)  # fmt: skip

_MINICPM = TinyClass(
    packed(16),
    {
        "text_config": _QWEN35["text_config"] | {"model_type": "qwen3_5_text"},
        "vision_config": {"image_size": 128},
        "insert_layer_id": 0,
    },
)

CLASSES: dict[str, TinyClass] = {
    "aya_vision": TinyClass(
        images_of(3, 64, 64),
        {"vision_config": _SIGLIP, "text_config": _of("cohere2"), "downsample_factor": 2},
    ),
    "cosmos3_omni": TinyClass(
        patches, _QWEN | {"text_config": _INTERLEAVED, "vision_config": _QWEN3_TOWER}, AROUND, kinds=_MM
    ),
    "deepseek_vl": TinyClass(
        images_of(3, 32, 32), {"vision_config": _SIGLIP | {"image_size": 32}, "text_config": _of("llama")}
    ),
    "got_ocr2": _GOT,
    "idefics2": TinyClass(
        lambda images, generator: {"pixel_values": torch.randn(1, images, 3, 32, 32, generator=generator)},
        {
            "text_config": _of("mistral"),
            "vision_config": {"image_size": 32},
            "perceiver_config": {
                "resampler_n_latents": 16, "resampler_depth": 1, "resampler_n_heads": 2, "resampler_head_dim": 8,
                "num_key_value_heads": 1, "hidden_size": 32,
            },
        },
    ),
    "janus": TinyClass(
        images_of(3, 32, 32),
        {
            "text_config": _of("llama"),
            "vision_config": {"image_size": 32, "projection_dim": 32, "num_image_tokens": 16, "mlp_ratio": 1.0},
            "vq_config": {
                "embed_dim": 4, "num_embeddings": 8, "latent_channels": 32, "base_channels": 32,
                "channel_multiplier": [1], "num_res_blocks": 1, "projection_dim": 32, "image_token_embed_dim": 32,
            },
        },
    ),
    "lighton_ocr": TinyClass(
        sized(3, 64, 64, size=(64, 64)), {"vision_config": {"model_type": "pixtral"}, "text_config": _of("qwen3")}
    ),
    "llava_next_video": TinyClass(
        sized(3, 3, 32, 32, size=(64, 32)),
        {
            "text_config": _of("llama"), "vision_config": _CLIP | {"patch_size": 16},
            "image_grid_pinpoints": [[64, 32]], "image_seq_length": 4,
        },
    ),
    "ovis2": TinyClass(
        images_of(3, 32, 32),
        {
            "visual_indicator_token_ids": [55, 56, 57, 58, 59], "hidden_size": 32, "vocab_size": 64,
            "text_config": _of("qwen2"), "vision_config": {"image_size": 32, "vocab_size": 32, "hidden_stride": 1},
        },
    ),
    "paddleocr_vl": TinyClass(
        grid_of(3, 8, 8), _QWEN | {"text_config": _AXES}, AROUND, kinds=_MM
    ),
    "pp_chart2table": _GOT,
    "qianfan_ocr": TinyClass(
        images_of(3, 64, 64),
        {
            "image_seq_length": 16, "text_config": _of("qwen3"),
            "vision_config": {"image_size": [64, 64], "patch_size": [8, 8]},
        },
    ),
    "qwen3_vl_moe": TinyClass(
        patches, _QWEN | {"text_config": _INTERLEAVED, "vision_config": _QWEN3_TOWER}, AROUND, kinds=_MM
    ),
    "video_llama_3": TinyClass(
        with_more(grid_of(3 * 8 * 8), lambda images: {"image_merge_sizes": torch.tensor([2] * images)}),
        {"text_config": _of("qwen2")},
    ),
    "video_llava": TinyClass(
        named("pixel_values_images", images_of(3, 32, 32)),
        {"text_config": _of("llama"), "vision_config": _CLIP, "image_seq_length": 16, "video_seq_length": 17},
    ),
    "vipllava": TinyClass(
        images_of(3, 32, 32),
        {
            "text_config": _of("llama"), "vision_config": _CLIP, "image_seq_length": 16,
            "vision_feature_layers": [-1, -2],
        },
    ),
    "aria": TinyClass(images_of(3, 64, 64), {"projector_patch_to_query_dict": {64: 16}}),
    "cohere2_vision": TinyClass(images_of(3, 64, 64), {"vision_config": _SIGLIP}),
    "cosmos3_edge": TinyClass(
        grid_of(3 * 8 * 8), {"text_config": _AXES, "vision_config": {"num_patches": 64}}, AROUND, kinds=_MM
    ),
    "ernie4_5_vl_moe": TinyClass(
        grid_of(3 * 8 * 8),
        _MARKS | {"text_config": {
            "rope_parameters": {**MROPE, "mrope_section": [1, 1, 2]}, "moe_intermediate_size": [24, 24]}},
        AROUND,
        kinds=("mm_token_type_ids", "moe_mm_token_type_ids"),
    ),
    "exaone4_5": TinyClass(patches, {"vision_config": _WINDOWED}, AROUND),
    "glm46v": _GLM,
    "glm4v": _GLM,
    "glm4v_moe": _GLM,
    "glm_ocr": _GLM,
    "glmga": _GLM,
    "granite_docling": TinyClass(
        with_more(
            lambda images, generator: {"pixel_values": torch.randn(1, images, 3, 64, 64, generator=generator)},
            lambda images: {"pixel_attention_mask": torch.ones(1, images, dtype=torch.bool)},
        ),
        {"vision_config": {"scale_factor": 2, "deepstack_visual_indexes": [0, 1], "use_fine_route": False}},
    ),
    "hunyuan_vl": TinyClass(
        grid_of(3 * 8 * 8),
        {
            "text_config": {"rope_parameters": {**MROPE, "mrope_section": [1, 1, 1, 1]}},
            "vision_config": {"max_image_size": 64, "text_hidden_size": 32},
        },
        AROUND,
        image=[IMAGE] * 22,
        kinds=_MM,
    ),
    "hyperclovax_vision_v2": TinyClass(patches, {"vision_config": _WINDOWED}, AROUND),
    "kimi_k25": TinyClass(grid_of(3, 8, 8), {
        "vision_config": {"pos_emb_height": 8, "pos_emb_width": 8}, "text_config": {"num_key_value_heads": 4}}, AROUND),
    "molmo2": TinyClass(
        lambda images, generator: {
            "pixel_values": torch.randn(images, 64, 3 * 8 * 8, generator=generator),
            "image_token_pooling": torch.arange(images * 64).view(images * 16, 4),
            "image_grids": torch.tensor([[4, 4, 0, 0]] * images),
            "image_num_crops": torch.ones(images, dtype=torch.long),
        },
        {
            "image_patch_id": IMAGE, "image_start_token_id": START, "image_end_token_id": END,
            "vision_config": {"num_position_embeddings": 64, "image_size": [64, 64]},
            "adapter_config": {"text_hidden_size": 32, "vision_feature_layer": [-1]},
            "text_config": {"additional_vocab_size": 0},
        },
        AROUND,
        kinds=_MM,
    ),
    "muse_glimmer": TinyClass(grid_of(2 * 3 * 8 * 8), {"out_hidden_size": 64}, AROUND),
    "muse_spark": TinyClass(
        grid_of(2 * 3 * 8 * 8),
        {"out_hidden_size": 64, "text_config": {"moe_hidden_size": 16}, "audio_config": _EARS} | _AUDIO,
        AROUND,
    ),
    "qwen2_5_omni_thinker": TinyClass(
        patches,
        {"vision_config": _WINDOWED, "text_config": _AXES, "audio_token_index": 59, "vision_start_token_id": START},
        AROUND,
    ),
    "qwen3_omni_moe_thinker": TinyClass(
        patches,
        {"text_config": _INTERLEAVED, "vision_config": _QWEN3_TOWER} | _AUDIO,
        AROUND,
    ),
    "shieldgemma2": TinyClass(
        images_of(3, 64, 64),
        {
            "vision_config": _SIGLIP, "boi_token_index": START, "eoi_token_index": END, "mm_tokens_per_image": 16,
            "text_config": {"query_pre_attn_scalar": 8, "sliding_window": 512},
        },
        AROUND,
        kinds=("token_type_ids",),
    ),
    "step3p7": TinyClass(
        images_of(3, 128, 128), {"vision_config": {"image_size": 128}, "text_config": {"sliding_window": 512}}
    ),
    "minimax_m3_vl": TinyClass(patches),
    "minicpmv4_6": _MINICPM,
    "minicpmv4_7": replace(_MINICPM, around=AROUND, kinds=_MM),
    "minicpm_ocr": replace(_MINICPM, pixels=packed(8)),
    "cohere_compass": TinyClass(
        patches,
        _QWEN | {"vision_config": _QWEN3_TOWER, "text_config": {"rope_parameters": {"full_attention": MROPE}}},
        AROUND,
        kinds=_MM,
    ),
    "lfm3_vl": TinyClass(
        patches,
        {
            "text_config": {
                "sliding_window": 512,
                "layer_types": ["conv", "full_attention", "conv", "sliding_attention", "full_attention"],
            },
        },
    ),
    "deepseek_vl_hybrid": TinyClass(
        with_more(
            images_of(3, 32, 32), lambda images: {"high_res_pixel_values": torch.ones(images, 3, 64, 64).cumsum(2) / 32}
        ),
        {
            "text_config": _of("llama"), "vision_config": _SIGLIP | {"image_size": 32},
            "high_res_vision_config": {
                "model_type": "sam_vision_model", "output_channels": 16, "image_size": 64, "window_size": 4,
                "global_attn_indexes": [1], "mlp_dim": 16,
            },
        },
    ),
    "gemma4": TinyClass(
        lambda images, generator: {
            "pixel_values": torch.rand(images, 64, 3 * 8 * 8, generator=generator),
            "image_position_ids": torch.cartesian_prod(torch.arange(8), torch.arange(8)).flip(1).repeat(images, 1, 1),
        },
        {
            "vision_config": {"model_type": "gemma4_vision", "pooling_kernel_size": 2, "num_key_value_heads": 2},
            "text_config": {
                "vocab_size_per_layer_input": 64, "hidden_size_per_layer_input": 8, "global_head_dim": 16,
                "layer_types": _SLIDING,
            },
        },
        kinds=_MM,
    ),
    "gemma4_unified": TinyClass(
        lambda images, generator: {
            "pixel_values": torch.rand(images, 16, 3 * 8 * 8, generator=generator),
            "image_position_ids": torch.cartesian_prod(torch.arange(4), torch.arange(4)).flip(1).repeat(images, 1, 1),
        },
        {
            "vision_config": {
                "model_type": "gemma4_unified_vision", "pooling_kernel_size": 1, "mm_embed_dim": 16,
                "mm_posemb_size": 8, "output_proj_dims": 16,
            },
            "text_config": {"global_head_dim": 16, "layer_types": _SLIDING},
        },
        kinds=_MM,
    ),
    "deepseek_ocr2": TinyClass(
        images_of(3, 256, 256),
        {
            "vision_config": {
                "sam_config": {
                    "hidden_size": 16, "output_channels": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
                    "image_size": 256, "patch_size": 16, "window_size": 4, "global_attn_indexes": [0], "mlp_dim": 16,
                    "downsample_channels": [16, 16], "initializer_range": 0.2,
                },
                "encoder_config": SMALL_TEXT | {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2},
            },
            "text_config": {"mlp_layer_types": ["dense", "sparse", "sparse", "sparse", "sparse"]},
        },
        image=[IMAGE] * 145,
    ),
    "lfm2_vl": TinyClass(
        lambda images, generator: {
            "pixel_values": torch.randn(images, 64, 3 * 8 * 8, generator=generator),
            "spatial_shapes": torch.tensor([[8, 8]] * images),
            "pixel_attention_mask": torch.ones(images, 64, dtype=torch.long),
        },
        {
            "vision_config": {"num_patches": 64, "vision_use_head": False},
            "text_config": {"layer_types": ["conv", "full_attention", "conv", "conv", "full_attention"]},
        },
    ),
    "fuyu": TinyClass(
        lambda images, generator: {"pixel_values": torch.randn(1, images * 16, 3 * 8 * 8, generator=generator)},
        {"patch_size": 8, "text_config": {"num_key_value_heads": 4}},
    ),
    "qwen3_5": TinyClass(patches, _QWEN35, AROUND, kinds=_MM),
    "qwen3_5_moe": TinyClass(patches, _QWEN35, AROUND, kinds=_MM),
}  # fmt: skip
"""By `model_type`."""

REFUSED = {"hunyuan_vl": "rows of a padded batch are as if alone"}
"""Of these, those that are not admitted, with the identity that does not hold: HunYuan-VL counts the images of a batch
across its rows, with a plan or without."""
UNTRIED = {
    "fast_vlm": "its vision tower comes from timm, which the tests do not have",
    "perception_lm": "its vision tower comes from timm, which the tests do not have",
}
"""Classes that are neither refused nor built here; a loaded model is proven like any other."""
