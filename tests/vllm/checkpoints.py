"""Checkpoints that both vLLM and transformers load: the bundled models, and random ones of further classes."""

import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    PreTrainedModel,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

MODELS = Path(__file__).parents[2] / "data_samples" / "models"

_TEXT: dict[str, Any] = {
    "vocab_size": 128, "hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 5, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 2048, "initializer_range": 0.2,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "tie_word_embeddings": False,
}  # fmt: skip
_IDS = {
    "image_token_id": 5, "video_token_id": 6, "vision_start_token_id": 3, "vision_end_token_id": 4,
    "tie_word_embeddings": False,
}  # fmt: skip


@cache
def checkpoint(name: str) -> Path:
    """A bundled model by its name, or a random one of 5 layers: `qwen2_vl` or `qwen3_vl`."""
    if name in _RANDOM:
        return _random(name)
    if not name.startswith("tiny-llava"):
        return MODELS / name
    # vLLM 0.32 knows the CLIP tower by the names that older versions of transformers gave it.
    folder = Path(mkdtemp()) / name
    shutil.copytree(MODELS / name, folder)
    weights = load_file(folder / "model.safetensors")
    older = {key.replace("vision_tower.", "vision_tower.vision_model."): weight for key, weight in weights.items()}
    save_file(older, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def original(name: str) -> Path:
    """The same model as transformers loads it."""
    return checkpoint(name) if name in _RANDOM else MODELS / name


def _qwen2_vl() -> PreTrainedModel:
    rope = {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10000.0}
    vision = {
        "depth": 2, "embed_dim": 128, "num_heads": 4, "mlp_ratio": 2, "patch_size": 8, "spatial_merge_size": 2,
        "temporal_patch_size": 2, "hidden_size": 128, "initializer_range": 0.2,
    }  # fmt: skip
    text = {key: value for key, value in _TEXT.items() if key != "head_dim"} | {"rope_parameters": rope}
    return Qwen2VLForConditionalGeneration(Qwen2VLConfig(text_config=text, vision_config=vision, **_IDS))


def _qwen3_vl() -> PreTrainedModel:
    rope = {"rope_type": "default", "mrope_section": [6, 5, 5], "rope_theta": 10000.0, "mrope_interleaved": True}
    vision = {
        "depth": 3, "hidden_size": 128, "num_heads": 4, "intermediate_size": 128, "patch_size": 8,
        "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 128, "num_position_embeddings": 256,
        "deepstack_visual_indexes": [0, 1, 2], "initializer_range": 0.2,
    }  # fmt: skip
    text = _TEXT | {"rope_parameters": rope}
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **_IDS))


_RANDOM = {"qwen2_vl": _qwen2_vl, "qwen3_vl": _qwen3_vl}


def _random(name: str) -> Path:
    from transformers import Qwen2VLProcessor, Qwen2VLVideoProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    folder = Path(mkdtemp()) / name
    torch.manual_seed(0)
    _RANDOM[name]().to(torch.float32).save_pretrained(folder)
    images = AutoImageProcessor.from_pretrained(MODELS / "tiny-qwen2.5-vl")
    words = AutoTokenizer.from_pretrained(MODELS / "tiny-qwen2.5-vl")
    template = (MODELS / "tiny-qwen2.5-vl" / "chat_template.jinja").read_text(encoding="utf-8")
    processor, video = {
        "qwen2_vl": (Qwen2VLProcessor, Qwen2VLVideoProcessor),
        "qwen3_vl": (Qwen3VLProcessor, Qwen3VLVideoProcessor),
    }[name]
    size = {"shortest_edge": 64 * 64, "longest_edge": 4 * 112 * 112}
    videos = video(patch_size=8, merge_size=2, temporal_patch_size=2, size=size)
    processor(images, words, videos, chat_template=template).save_pretrained(folder)
    return folder
