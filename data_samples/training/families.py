"""What differs between model families in training: building one, its image processor, and its positions.

Everything else (features, packing, both stages, export) goes through the interface transformers gives all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from data_samples.training import vocabulary

Model = Any  # a PreTrainedModel, whose submodules are looked up dynamically


@dataclass(frozen=True)
class Family:
    """The family-specific bits, all functions of the model's own config."""

    build: Callable[[dict[str, Any], PreTrainedTokenizerFast], Model]
    """Settings of the JSON config and tokenizer -> a freshly initialised model."""

    image_processor: Callable[[dict[str, Any]], Any]
    """Settings -> the image processor that is shipped with the model."""

    vision_parts: Callable[[Model], list[nn.Module]]
    """Modules of the vision tower and projector, the last linear of the projector last."""

    positions: Callable[[Model, Tensor, dict[str, Tensor]], Tensor]
    """(model, prefix ids (P,), one image's inputs) -> positions of the prefix, (1, P) or (3, P), text goes on after."""


def _special_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    ids = tokenizer.convert_tokens_to_ids
    return {
        "bos_token_id": ids(vocabulary.START),
        "eos_token_id": ids(vocabulary.END),
        "pad_token_id": ids(vocabulary.PAD),
    }


def _build_qwen(settings: dict[str, Any], tokenizer: PreTrainedTokenizerFast) -> Model:
    ids: Any = tokenizer.convert_tokens_to_ids
    special = _special_ids(tokenizer)
    config = Qwen2_5_VLConfig(
        text_config={**settings["text"], "vocab_size": vocabulary.SIZE, "tie_word_embeddings": True, **special},
        vision_config=settings["vision"],
        image_token_id=ids(vocabulary.IMAGE),
        video_token_id=ids(vocabulary.VIDEO),
        vision_start_token_id=ids(vocabulary.VISION_START),
        vision_end_token_id=ids(vocabulary.VISION_END),
        tie_word_embeddings=True,
        **special,
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def _qwen_positions(model: Model, prefix: Tensor, image: dict[str, Tensor]) -> Tensor:
    """Text counts on, an image's tokens share one time step and take their row and column: (3, P)."""
    kinds = (prefix == model.config.image_token_id).int()[None]  # (1, P), 1 where an image token stands
    positions: Tensor = model.model.get_rope_index(prefix[None], kinds, image_grid_thw=image["image_grid_thw"][:1])[0]
    return positions[:, 0]


FAMILIES = {
    "qwen2_5_vl": Family(
        build=_build_qwen,
        image_processor=lambda settings: Qwen2VLImageProcessorPil(**settings["image_processor"]),
        vision_parts=lambda model: [model.model.visual, model.model.visual.merger.mlp[-1]],
        positions=_qwen_positions,
    ),
}


def image_features(model: Model, images: dict[str, Tensor]) -> Tensor:
    """Processed images -> what the language model gets in place of the image tokens, (B, tokens, D)."""
    return torch.stack(list(model.model.get_image_features(**images).pooler_output))


def spread_positions(prefix: Tensor, offsets: Tensor) -> Tensor:
    """Prefix positions (A, P) and linear offsets (B, L) -> (A, B, L): text after the prefix counts on from its end."""
    last = prefix.shape[1] - 1
    return prefix[:, offsets.clamp(max=last)] + (offsets - last).clamp(min=0)
