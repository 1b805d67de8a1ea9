"""Tiny random models, built in-process, one for each registered family, and prompts for them.

A new family joins the contract tests by an entry in `TINY`, and in `DECODERS` for each decoder that it names. Every
model has 5 decoder layers of width 32 with 4 heads, and takes 16 visual tokens an image.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    InternVLConfig,
    InternVLForConditionalGeneration,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

from halfv_core.families import FAMILIES

VOCAB, IMAGE, VIDEO, START, END, EOS = 64, 60, 61, 62, 63, 1
LAYERS = 5

Text = dict[str, Any]
"""A decoder's config."""

MROPE = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0}
DECODERS: dict[str, Text] = {
    "gemma3_text": {
        "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 512,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "sliding_attention",
                        "full_attention"],
    },
    "llama": {"num_key_value_heads": 4},
    "mistral": {"sliding_window": None, "head_dim": 8},
    "qwen2": {},
    "qwen2_vl_text": {"rope_parameters": MROPE},
    "qwen2_5_vl_text": {"rope_parameters": MROPE},
    "qwen3_vl_text": {"rope_parameters": MROPE | {"mrope_interleaved": True}, "head_dim": 8},
}  # fmt: skip
"""By the decoder's `model_type`: what its config has beside or instead of `text_config`'s; 2 key/value heads mostly."""


def text_config(decoder: str) -> Text:
    """Config of a tiny decoder."""
    common: Text = {
        "model_type": decoder, "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48,
        "num_hidden_layers": LAYERS, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 512, "initializer_range": 0.2, "bos_token_id": 0, "eos_token_id": EOS,
        "pad_token_id": 0,
    }  # fmt: skip
    return common | DECODERS[decoder]


_TOWER: dict[str, Any] = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
QWEN_IDS = {
    "image_token_id": IMAGE, "video_token_id": VIDEO, "vision_start_token_id": START, "vision_end_token_id": END,
    "tie_word_embeddings": False,
}  # fmt: skip

QWEN3_VISION: dict[str, Any] = {
    "depth": 3, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16, "patch_size": 8,
    "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 32, "num_position_embeddings": 64,
    "deepstack_visual_indexes": [0, 1, 2], "initializer_range": 0.2,
}  # fmt: skip


def tiny_qwen2_vl(text: Text) -> PreTrainedModel:
    """Patches of 8 px, merged by 4."""
    vision = {
        "depth": 1, "embed_dim": 16, "num_heads": 2, "mlp_ratio": 1, "patch_size": 8, "spatial_merge_size": 2,
        "temporal_patch_size": 2, "hidden_size": 32, "initializer_range": 0.2,
    }  # fmt: skip
    return Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=text, vision_config=vision, **QWEN_IDS))


def tiny_qwen2_5_vl(text: Text) -> PreTrainedModel:
    """Patches of 8 px, merged by 4."""
    vision = {
        "depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16, "patch_size": 8,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 32, "fullatt_block_indexes": [0],
        "window_size": 32, "initializer_range": 0.2,
    }  # fmt: skip
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(text_config=text, vision_config=vision, **QWEN_IDS))


def tiny_qwen3_vl(text: Text) -> PreTrainedModel:
    """Patches of 8 px, merged by 4; features of the tower are added after decoder layers 0, 1 and 2."""
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=QWEN3_VISION, **QWEN_IDS))


def tiny_llava(text: Text) -> PreTrainedModel:
    """Patches of 8 px in images of 32 px."""
    vision = CLIPVisionConfig(**_TOWER, num_hidden_layers=2, image_size=32, patch_size=8, projection_dim=16)
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE, image_seq_length=16, tie_word_embeddings=False
    )
    return LlavaForConditionalGeneration(config)


def tiny_llava_next(text: Text) -> PreTrainedModel:
    """A 64 x 32 px image is a base tile of 4 tokens and 4 rows of 2 and a newline."""
    vision = CLIPVisionConfig(**_TOWER, num_hidden_layers=2, image_size=32, patch_size=16, projection_dim=16)
    config = LlavaNextConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE, image_grid_pinpoints=[[64, 32]],
        image_seq_length=4, tie_word_embeddings=False,
    )  # fmt: skip
    return LlavaNextForConditionalGeneration(config)


def tiny_llava_onevision(text: Text) -> PreTrainedModel:
    """A 64 x 32 px image is a base tile of 4 tokens and 4 rows of 2 and a newline."""
    vision = {
        **_TOWER, "model_type": "siglip_vision_model", "num_hidden_layers": 2, "image_size": 32, "patch_size": 16,
        "vision_use_head": False,
    }  # fmt: skip
    config = LlavaOnevisionConfig(
        vision_config=vision, text_config=text, image_token_index=IMAGE, video_token_index=VIDEO,
        image_grid_pinpoints=[[64, 32]], tie_word_embeddings=False,
    )  # fmt: skip
    return LlavaOnevisionForConditionalGeneration(config)


def tiny_internvl(text: Text) -> PreTrainedModel:
    """Patches of 8 px in images of 64 px, shuffled together by 4."""
    vision = _TOWER | {"num_hidden_layers": 2, "image_size": 64, "patch_size": 8, "initializer_range": 0.2}
    config = InternVLConfig(
        vision_config=vision, text_config=text, image_token_id=IMAGE, image_seq_length=16, tie_word_embeddings=False
    )
    return InternVLForConditionalGeneration(config)


def tiny_mistral3(text: Text) -> PreTrainedModel:
    """Pixtral tower; patches of 8 px, merged by 4."""
    vision = {
        **_TOWER, "model_type": "pixtral", "num_hidden_layers": 2, "image_size": 64, "patch_size": 8,
        "initializer_range": 0.2,
    }  # fmt: skip
    config = Mistral3Config(
        vision_config=vision, text_config=text, image_token_index=IMAGE, spatial_merge_size=2, tie_word_embeddings=False
    )
    return Mistral3ForConditionalGeneration(config)


_SMALL_IDEFICS = _TOWER | {"num_hidden_layers": 2, "image_size": 64, "patch_size": 8, "initializer_range": 0.2}


def tiny_idefics3(text: Text) -> PreTrainedModel:
    """Patches of 8 px in tiles of 64 px, shuffled together by 4."""
    config = Idefics3Config(vision_config=_SMALL_IDEFICS, text_config=text, image_token_id=IMAGE, scale_factor=2)
    return Idefics3ForConditionalGeneration(config)


def tiny_smolvlm(text: Text) -> PreTrainedModel:
    """Patches of 8 px in tiles of 64 px, shuffled together by 4."""
    config = SmolVLMConfig(vision_config=_SMALL_IDEFICS, text_config=text, image_token_id=IMAGE, scale_factor=2)
    return SmolVLMForConditionalGeneration(config)


def tiny_gemma3(text: Text) -> PreTrainedModel:
    """SigLIP tower; patches of 8 px in images of 64 px, pooled by 4; layers 1 and 4 are full, the others slide."""
    vision = {
        **_TOWER, "model_type": "siglip_vision_model", "num_hidden_layers": 2, "image_size": 64, "patch_size": 8,
        "vision_use_head": False,
    }  # fmt: skip
    config = Gemma3Config(
        vision_config=vision, text_config=text, image_token_index=IMAGE, boi_token_index=START, eoi_token_index=END,
        mm_tokens_per_image=16, initializer_range=0.2, tie_word_embeddings=False,
    )  # fmt: skip
    model = Gemma3ForConditionalGeneration(config)
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.2)  # zeros otherwise
    return model


Pixels = Callable[[int, torch.Generator], dict[str, torch.Tensor]]
"""The model's image inputs for so many images."""


def images_of(*shape: int) -> Pixels:
    """(images, *shape)."""
    return lambda images, generator: {"pixel_values": torch.randn(images, *shape, generator=generator)}


def sized(*shape: int, size: tuple[int, int]) -> Pixels:
    """(images, *shape), with the size (height, width) of each image."""
    return lambda images, generator: {
        "pixel_values": torch.randn(images, *shape, generator=generator),
        "image_sizes": torch.tensor([size] * images),
    }


def patches(images: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """8 x 8 flat patches of 8 x 8 px and two frames an image."""
    return {
        "pixel_values": torch.randn(images * 64, 3 * 2 * 8 * 8, generator=generator),
        "image_grid_thw": torch.tensor([[1, 8, 8]] * images),
    }


def tiles(images: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    """(rows, images, 3, 64, 64)."""
    return {"pixel_values": torch.randn(1, images, 3, 64, 64, generator=generator)}


@dataclass(frozen=True)
class Tiny:
    """What the tests have to know about a family."""

    build: Callable[[Text], PreTrainedModel]
    """The model around a decoder of a config."""
    pixels: Pixels
    around: tuple[list[int], list[int]] = ([], [])
    """Tokens before and after each image."""
    kinds: str | None = None
    """Name of the input that says of each token whether it is text, 0, or image, 1; None for none."""
    by_row: bool = False
    """Whether the image inputs are (rows, images, ...), with zeros where a row has fewer images than another."""


AROUND = ([START], [END])
TINY: dict[str, Tiny] = {
    "gemma3": Tiny(tiny_gemma3, images_of(3, 64, 64), AROUND, kinds="token_type_ids"),
    "idefics3": Tiny(tiny_idefics3, tiles, AROUND, by_row=True),
    "internvl": Tiny(tiny_internvl, images_of(3, 64, 64), AROUND),
    "llava": Tiny(tiny_llava, images_of(3, 32, 32)),
    "llava_next": Tiny(tiny_llava_next, sized(3, 3, 32, 32, size=(64, 32))),
    "llava_onevision": Tiny(tiny_llava_onevision, sized(3, 3, 32, 32, size=(64, 32))),
    "mistral3": Tiny(tiny_mistral3, sized(3, 64, 64, size=(64, 64)), ([], [END])),
    "qwen2_5_vl": Tiny(tiny_qwen2_5_vl, patches, AROUND, kinds="mm_token_type_ids"),
    "qwen2_vl": Tiny(tiny_qwen2_vl, patches, AROUND, kinds="mm_token_type_ids"),
    "qwen3_vl": Tiny(tiny_qwen3_vl, patches, AROUND, kinds="mm_token_type_ids"),
    "smolvlm": Tiny(tiny_smolvlm, tiles, AROUND, by_row=True),
}
"""By `model_type`; the contract tests demand one for every registered family."""


def tiny_model(model_type: str, seed: int = 0, kernel: str = "sdpa", decoder: str | None = None) -> PreTrainedModel:
    """A tiny random model of a family, in eval mode, greedy, never stopping early.

    Args:
        decoder: one of those that the family names; the first of them where none is given.
    """
    torch.manual_seed(seed)
    model = prepared(TINY[model_type].build(text_config(decoder or FAMILIES[model_type].decoders[0])))
    model.set_attn_implementation(kernel)
    return model


def prepared(model: PreTrainedModel) -> PreTrainedModel:
    """A random model in eval mode, greedy, never stopping early, in which mistakes show."""
    for parameter in model.eval().parameters():
        if parameter.ndim == 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)  # biases start at zero and would hide mistakes
    with torch.no_grad():
        model.get_output_embeddings().weight[[IMAGE, VIDEO]] = 0.0  # never the likeliest token
    model.generation_config.eos_token_id = None
    return model


def tiny_prompt(
    model_type: str, before: int = 4, between: Sequence[int] = (), after: int = 6, images: int = 1, seed: int = 0
) -> dict[str, Any]:
    """Model inputs of one prompt: text, images of 16 visual tokens with text between them, text.

    Args:
        between: text tokens between neighbouring images, one number for each gap; 3 where none is given.
    """
    family, generator = TINY[model_type], torch.Generator().manual_seed(seed)

    def text(count: int) -> list[int]:
        return torch.randint(2, 59, (count,), generator=generator).tolist()

    ids = text(before)
    gaps = list(between) or [3] * (images - 1)
    for image in range(images):
        ids += family.around[0] + [IMAGE] * 16 + family.around[1]
        if image < images - 1:
            ids += text(gaps[image])
    ids += text(after)
    inputs: dict[str, Any] = {"input_ids": torch.tensor([ids])}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if images == 0:
        return inputs
    if family.kinds is not None:
        inputs[family.kinds] = (inputs["input_ids"] == IMAGE).int()
    return inputs | family.pixels(images, generator)


def token_inputs(inputs: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Those of the inputs that have one number for each token, (B, N)."""
    return {name: value for name, value in inputs.items() if value.shape == inputs["input_ids"].shape}


def padded(inputs: Mapping[str, Any], left: int, right: int = 0) -> dict[str, Any]:
    """The same prompt between padding tokens."""
    return dict(inputs) | {
        name: torch.nn.functional.pad(value, (left, right)) for name, value in token_inputs(inputs).items()
    }


def continued(inputs: Mapping[str, Any], ids: torch.Tensor) -> dict[str, Any]:
    """The same prompt with text (1, t) after it."""
    longer = padded(inputs, 0, ids.shape[1])
    longer["input_ids"] = torch.cat([inputs["input_ids"], ids], 1)
    longer["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones_like(ids)], 1)
    return longer


def stacked(model_type: str, values: Sequence[torch.Tensor]) -> torch.Tensor:
    """Image inputs of several rows as one."""
    if not TINY[model_type].by_row:
        return torch.cat(list(values))
    most = max(value.shape[1] for value in values)
    return torch.cat([torch.cat([v, v.new_zeros(1, most - v.shape[1], *v.shape[2:])], 1) for v in values])


def tiny_batch(model_type: str, prompts: Sequence[dict[str, Any]], side: str = "left") -> dict[str, Any]:
    """Prompts of `tiny_prompt`, padded to one length on one side."""
    family = TINY[model_type]
    rows = [tiny_prompt(model_type, seed=seed, **prompt) for seed, prompt in enumerate(prompts)]
    if family.kinds is not None:
        rows = [{family.kinds: torch.zeros_like(row["input_ids"]).int()} | row for row in rows]
    pixels = {name for row in rows for name in row if name not in token_inputs(row)}
    blank = {"pixel_values": torch.zeros(1, 0, 3, 64, 64)} if family.by_row and pixels else {}
    length = max(row["input_ids"].shape[1] for row in rows)
    batch: dict[str, Any] = {}
    for name in rows[0].keys() - pixels:
        gaps = [length - row["input_ids"].shape[1] for row in rows]
        pads = [(gap, 0) if side == "left" else (0, gap) for gap in gaps]
        batch[name] = torch.cat([padded(row, *pad)[name] for row, pad in zip(rows, pads, strict=True)])
    for name in pixels:
        batch[name] = stacked(model_type, [row[name] for row in (blank | row for row in rows) if name in row])
    return batch
