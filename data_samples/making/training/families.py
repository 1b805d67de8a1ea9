"""What differs between model families in training: building one, its special tokens, its processor, its positions.

Everything else (features, packing, both stages, export) goes through the interface transformers gives all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextProcessor,
    LlavaProcessor,
    MistralConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from data_samples.making.training import vocabulary
from data_samples.making.training.vocabulary import Markers

Model = Any  # a PreTrainedModel, whose submodules are looked up dynamically
Values = dict[str, Any]  # the JSON settings of a model


@dataclass(frozen=True)
class Family:
    """The family-specific bits, all functions of the model's own config."""

    markers: Markers
    """The special tokens of the family's checkpoints."""

    build: Callable[[Values, PreTrainedTokenizerFast], Model]
    """Settings of the JSON config and tokenizer -> a freshly initialised model."""

    image_processor: Callable[[Values], Any]
    """Settings -> the image processor that is shipped with the model."""

    processor: Callable[[Values, Any, PreTrainedTokenizerFast], Any] | None
    """(settings, image processor, tokenizer) -> the processor shipped; None where it is shipped as its parts."""

    vision_parts: Callable[[Model], list[nn.Module]]
    """Modules of the vision tower and projector, the last linear of the projector last."""

    positions: Callable[[Model, Tensor, dict[str, Tensor]], Tensor]
    """(model, prefix ids (P,), one image's inputs) -> positions of the prefix, (1, P) or (3, P), text goes on after."""

    grids: Callable[[Values], list[Tensor]]
    """Settings -> the square grids of visual tokens that each show the whole picture, (side^2,) indices, row by row."""


def _special_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}


def _text(settings: Values, tokenizer: PreTrainedTokenizerFast) -> Values:
    return {
        **settings["text"],
        "vocab_size": vocabulary.SIZE,
        "tie_word_embeddings": True,
        **_special_ids(tokenizer),
    }


def _build_qwen(settings: Values, tokenizer: PreTrainedTokenizerFast) -> Model:
    ids: Any = tokenizer.convert_tokens_to_ids
    config = Qwen2_5_VLConfig(
        text_config=_text(settings, tokenizer),
        vision_config=settings["vision"],
        image_token_id=ids("<|image_pad|>"),
        video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"),
        vision_end_token_id=ids("<|vision_end|>"),
        tie_word_embeddings=True,
        **_special_ids(tokenizer),
    )
    return Qwen2_5_VLForConditionalGeneration(config)


def _build_llava(settings: Values, tokenizer: PreTrainedTokenizerFast) -> Model:
    config = LlavaConfig(
        text_config=LlamaConfig(**_text(settings, tokenizer)),
        vision_config=CLIPVisionConfig(**settings["vision"]),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=settings["grid"] ** 2,
        tie_word_embeddings=True,
        **_special_ids(tokenizer),
    )
    return LlavaForConditionalGeneration(config)


def _build_llava_next(settings: Values, tokenizer: PreTrainedTokenizerFast) -> Model:
    vision = CLIPVisionConfig(**settings["vision"])
    config = LlavaNextConfig(
        text_config=MistralConfig(**_text(settings, tokenizer)),
        vision_config=vision,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=settings["image_processor"]["image_grid_pinpoints"],
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
        tie_word_embeddings=True,
        **_special_ids(tokenizer),
    )
    return LlavaNextForConditionalGeneration(config)


def _shared_processor(kind: Callable[..., Any]) -> Callable[[Values, Any, PreTrainedTokenizerFast], Any]:
    """LLaVA's processors know how many tokens a picture becomes; they count the class token and drop it again."""
    return lambda settings, images, tokenizer: kind(
        images,
        tokenizer,
        patch_size=settings["vision"]["patch_size"],
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )


def _counted(model: Model, prefix: Tensor, image: dict[str, Tensor]) -> Tensor:
    """Every token counts one: (1, P)."""
    return torch.arange(len(prefix))[None]


def _qwen_positions(model: Model, prefix: Tensor, image: dict[str, Tensor]) -> Tensor:
    """Text counts on, an image's tokens share one time step and take their row and column: (3, P)."""
    kinds = (prefix == model.config.image_token_id).int()[None]  # (1, P), 1 where an image token stands
    positions: Tensor = model.model.get_rope_index(prefix[None], kinds, image_grid_thw=image["image_grid_thw"][:1])[0]
    return positions[:, 0]


def _all_tokens(settings: Values) -> list[Tensor]:
    return [torch.arange(settings["grid"] ** 2)]


def _base_and_tiles(settings: Values) -> list[Tensor]:
    """Behind the tokens of the whole picture in one tile come the rows of the fine grid, a newline token after each."""
    base = (settings["vision"]["image_size"] // settings["vision"]["patch_size"]) ** 2
    grid: int = settings["grid"]
    fine = base + torch.arange(grid * (grid + 1)).view(grid, grid + 1)[:, :-1]  # (grid, grid)
    return [torch.arange(base), fine.flatten()]


def _clip_parts(model: Model) -> list[nn.Module]:
    inner = model.model
    return [inner.vision_tower, inner.multi_modal_projector, inner.multi_modal_projector.linear_2]


FAMILIES = {
    "qwen2_5_vl": Family(
        markers=vocabulary.QWEN,
        build=_build_qwen,
        image_processor=lambda settings: Qwen2VLImageProcessorPil(**settings["image_processor"]),
        processor=None,
        vision_parts=lambda model: [model.model.visual, model.model.visual.merger.mlp[-1]],
        positions=_qwen_positions,
        grids=_all_tokens,
    ),
    "llava": Family(
        markers=vocabulary.LLAMA,
        build=_build_llava,
        image_processor=lambda settings: CLIPImageProcessorPil(**settings["image_processor"]),
        processor=_shared_processor(LlavaProcessor),
        vision_parts=_clip_parts,
        positions=_counted,
        grids=_all_tokens,
    ),
    "llava_next": Family(
        markers=vocabulary.MISTRAL,
        build=_build_llava_next,
        image_processor=lambda settings: LlavaNextImageProcessorPil(**settings["image_processor"]),
        processor=_shared_processor(LlavaNextProcessor),
        vision_parts=_clip_parts,
        positions=_counted,
        grids=_base_and_tiles,
    ),
}


def image_features(model: Model, images: dict[str, Tensor]) -> Tensor:
    """Processed images -> what the language model gets in place of the image tokens, (B, tokens, D)."""
    return torch.stack(list(model.model.get_image_features(**images).pooler_output))


def spread_positions(prefix: Tensor, offsets: Tensor) -> Tensor:
    """Prefix positions (A, P) and linear offsets (B, L) -> (A, B, L): text after the prefix counts on from its end."""
    last = prefix.shape[1] - 1
    return prefix[:, offsets.clamp(max=last)] + (offsets - last).clamp(min=0)
