"""Tiny random models, built in-process, one for each registered family, and prompts for them.

A new family joins the contract tests by an entry in `TINY`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    MistralConfig,
    PreTrainedModel,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)

VOCAB, IMAGE, VIDEO, START, END, EOS = 64, 60, 61, 62, 63, 1
LAYERS = 5


def tiny_qwen2_5_vl() -> PreTrainedModel:
    """5 layers, 4 heads over 2 key/value heads, 16 visual tokens for a 64 px image."""
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": LAYERS,
            "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
            "initializer_range": 0.2,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0},
            "bos_token_id": 0, "eos_token_id": EOS, "pad_token_id": 0,
        },
        vision_config={
            "depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 16, "patch_size": 8,
            "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 32, "fullatt_block_indexes": [0],
            "window_size": 32, "initializer_range": 0.2,
        },
        image_token_id=IMAGE, video_token_id=VIDEO, vision_start_token_id=START, vision_end_token_id=END,
        tie_word_embeddings=False,
    )  # fmt: skip
    return Qwen2_5_VLForConditionalGeneration(config)


def tiny_llava() -> PreTrainedModel:
    """5 Llama layers, 4 heads, 16 visual tokens for a 32 px image."""
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32,
            patch_size=8, projection_dim=16,
        ),
        text_config=LlamaConfig(
            vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=4,
            num_key_value_heads=4, max_position_embeddings=512, initializer_range=0.2, bos_token_id=0,
            eos_token_id=EOS, pad_token_id=0,
        ),
        image_token_index=IMAGE, image_seq_length=16, tie_word_embeddings=False,
    )  # fmt: skip
    return LlavaForConditionalGeneration(config)


def tiny_llava_next() -> PreTrainedModel:
    """5 Mistral layers, 4 heads over 2; a 64 x 32 px image is a base tile of 4 tokens and 4 rows of 2 and a newline."""
    config = LlavaNextConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=32,
            patch_size=16, projection_dim=16,
        ),
        text_config=MistralConfig(
            vocab_size=VOCAB, hidden_size=32, intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.2, bos_token_id=0,
            eos_token_id=EOS, pad_token_id=0, sliding_window=None,
        ),
        image_token_index=IMAGE, image_grid_pinpoints=[[64, 32]], image_seq_length=4, tie_word_embeddings=False,
    )  # fmt: skip
    return LlavaNextForConditionalGeneration(config)


TINY: dict[str, Callable[[], PreTrainedModel]] = {
    "qwen2_5_vl": tiny_qwen2_5_vl,
    "llava": tiny_llava,
    "llava_next": tiny_llava_next,
}
"""Builder by `model_type`; the contract tests demand one for every registered family."""


def tiny_model(model_type: str, seed: int = 0, kernel: str = "sdpa") -> PreTrainedModel:
    """A tiny random model of a family, in eval mode, greedy, never stopping early."""
    torch.manual_seed(seed)
    model = TINY[model_type]().eval()
    for parameter in model.parameters():
        if parameter.ndim == 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.2)  # biases start at zero and would hide mistakes
    with torch.no_grad():
        model.get_output_embeddings().weight[[IMAGE, VIDEO]] = 0.0  # never the likeliest token
    model.set_attn_implementation(kernel)
    model.generation_config.eos_token_id = None
    return model


def tiny_prompt(
    model_type: str, before: int = 4, between: Sequence[int] = (), after: int = 6, images: int = 1, seed: int = 0
) -> dict[str, Any]:
    """Model inputs of one prompt: text, images of 16 visual tokens with text between them, text.

    Args:
        between: text tokens between neighbouring images, one number for each gap; 3 where none is given.
    """
    generator = torch.Generator().manual_seed(seed)

    def text(count: int) -> list[int]:
        return torch.randint(2, 59, (count,), generator=generator).tolist()

    wrap = ([START], [END]) if model_type == "qwen2_5_vl" else ([], [])
    ids = text(before)
    gaps = list(between) or [3] * (images - 1)
    for image in range(images):
        ids += wrap[0] + [IMAGE] * 16 + wrap[1]
        if image < images - 1:
            ids += text(gaps[image])
    ids += text(after)
    inputs: dict[str, Any] = {"input_ids": torch.tensor([ids])}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    if images == 0:
        return inputs
    if model_type == "qwen2_5_vl":
        inputs["pixel_values"] = torch.randn(images * 64, 3 * 2 * 8 * 8, generator=generator)
        inputs["image_grid_thw"] = torch.tensor([[1, 8, 8]] * images)
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == IMAGE).int()
    elif model_type == "llava_next":
        inputs["pixel_values"] = torch.randn(images, 3, 3, 32, 32, generator=generator)
        inputs["image_sizes"] = torch.tensor([[64, 32]] * images)
    else:
        inputs["pixel_values"] = torch.randn(images, 3, 32, 32, generator=generator)
    return inputs


def tiny_batch(model_type: str, prompts: Sequence[dict[str, Any]], side: str = "left") -> dict[str, Any]:
    """Prompts of `tiny_prompt`, padded to one length on one side."""
    rows = [tiny_prompt(model_type, seed=seed, **prompt) for seed, prompt in enumerate(prompts)]
    length = max(row["input_ids"].shape[1] for row in rows)
    batch: dict[str, Any] = {}
    for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
        values = [row.get(name, torch.zeros_like(row["input_ids"])) for row in rows]
        pads = [(length - value.shape[1], 0) if side == "left" else (0, length - value.shape[1]) for value in values]
        batch[name] = torch.cat([torch.nn.functional.pad(*pair) for pair in zip(values, pads, strict=True)])
    if model_type != "qwen2_5_vl":
        del batch["mm_token_type_ids"]
    for name in ("pixel_values", "image_grid_thw", "image_sizes"):
        found = [row[name] for row in rows if name in row]
        if found:
            batch[name] = torch.cat(found)
    return batch
