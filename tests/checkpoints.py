"""Tiny random checkpoints on disk, in the layout that the hub has for each family."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import (
    Gemma3Processor,
    Idefics3Processor,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.utils import is_torchvision_available

from tests.tiny import END, EOS, IMAGE, START, VIDEO, tiny_model

Save = Callable[[PreTrainedTokenizerFast, str, Path], Any]
"""Writes a processor's files: from the tokenizer and the chat template to a folder."""


@dataclass(frozen=True)
class Checkpoint:
    """What a family's checkpoints have beside the model."""

    special: dict[int, str]
    """Special tokens."""
    placeholder: str
    """What stands for an image in the chat template."""
    save: Save
    named: tuple[tuple[str, str], ...] = ()
    """Attributes of the tokenizer that hold special tokens."""
    video: str = ""
    """What stands for a video in the chat template; nothing where the family takes none."""
    needs_torchvision: bool = False
    """Whether neither its processor nor one composed of its parts can be built without torchvision."""


def save_files(files: dict[str, dict[str, Any]], words: PreTrainedTokenizerFast, template: str, folder: Path) -> None:
    """The files that the hub has, one by one: the processor itself may need torchvision."""
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    words.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(template)


def split(images: dict[str, Any], processor: dict[str, Any], video: dict[str, Any] | None = None) -> Save:
    """How a processor is saved whose settings lie in several files.

    Args:
        images: of preprocessor_config.json.
        processor: of processor_config.json; without any there is no such file.
        video: of video_preprocessor_config.json, likewise.
    """
    files = {
        "preprocessor_config.json": images,
        "processor_config.json": processor,
        "video_preprocessor_config.json": video,
    }
    return partial(save_files, {name: content for name, content in files.items() if content})


def save_whole(
    processor: Any, images: Any, options: dict[str, Any], words: PreTrainedTokenizerFast, template: str, folder: Path
) -> None:
    """A processor of a class, all in one file."""
    processor(images, words, chat_template=template, **options).save_pretrained(folder)


def whole(processor: Any, images: Any, **options: Any) -> Save:
    """How a processor of this class is saved."""
    return partial(save_whole, processor, images, options)


_TILES = {"size": {"shortest_edge": 32}, "crop_size": 32}
_LLAVA = {"vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
_THIRTY_TWO = {"height": 32, "width": 32}
_SIXTY_FOUR = {"height": 64, "width": 64}
_LONGEST = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 64}}
_PATCHES = {"patch_size": 8, "merge_size": 2, "temporal_patch_size": 2}


def _qwen(video: dict[str, Any] | None = None) -> Checkpoint:
    size = {"shortest_edge": 64 * 64, "longest_edge": 64 * 64}
    return Checkpoint(
        {IMAGE: "<|image_pad|>", VIDEO: "<|video_pad|>", START: "<|vision_start|>", END: "<|vision_end|>"},
        "<|vision_start|><|image_pad|><|vision_end|>",
        split({"image_processor_type": "Qwen2VLImageProcessor", "size": size, **_PATCHES}, {}, video),
        video="<|vision_start|><|video_pad|><|vision_end|>",
    )


CHECKPOINTS = {
    "gemma3": Checkpoint(
        {IMAGE: "<image_soft_token>", START: "<start_of_image>", END: "<end_of_image>"},
        "<start_of_image>",
        whole(Gemma3Processor, Gemma3ImageProcessorPil(size=_SIXTY_FOUR), image_seq_length=16),
        (("image_token", "<image_soft_token>"), ("boi_token", "<start_of_image>"), ("eoi_token", "<end_of_image>")),
    ),
    "idefics3": Checkpoint(
        {IMAGE: "<image>", START: "<fake_token_around_image>", END: "<global-img>", 59: "<end_of_utterance>"},
        "<image>",
        whole(Idefics3Processor, Idefics3ImageProcessorPil(**_LONGEST), image_seq_len=16),
    ),
    "internvl": Checkpoint(
        {IMAGE: "<IMG_CONTEXT>", VIDEO: "<video>", START: "<img>", END: "</img>"},
        "<IMG_CONTEXT>",
        split(
            {
                "image_processor_type": "GotOcr2ImageProcessor",
                "size": _SIXTY_FOUR,
                "crop_to_patches": True,
                "max_patches": 4,
            },
            {"processor_class": "InternVLProcessor", "image_seq_length": 16},
            {"video_processor_type": "InternVLVideoProcessor", "size": _SIXTY_FOUR},
        ),
        (
            ("context_image_token", "<IMG_CONTEXT>"),
            ("video_token", "<video>"),
            ("start_image_token", "<img>"),
            ("end_image_token", "</img>"),
        ),
        video="<video>",
        needs_torchvision=True,
    ),
    "llava": Checkpoint(
        {IMAGE: "<image>"}, "<image>", whole(LlavaProcessor, CLIPImageProcessorPil(**_TILES), patch_size=8, **_LLAVA)
    ),
    "llava_next": Checkpoint(
        {IMAGE: "<image>"},
        "<image>",
        whole(
            LlavaNextProcessor,
            LlavaNextImageProcessorPil(**_TILES, image_grid_pinpoints=[[64, 32]]),
            patch_size=16,
            **_LLAVA,
        ),
    ),
    "llava_onevision": Checkpoint(
        {IMAGE: "<image>", VIDEO: "<video>"},
        "<image>",
        split(
            {
                "image_processor_type": "LlavaOnevisionImageProcessor",
                "size": _THIRTY_TWO,
                "image_grid_pinpoints": [[64, 32]],
            },
            {
                "processor_class": "LlavaOnevisionProcessor",
                "num_image_tokens": 4,
                "vision_feature_select_strategy": "full",
            },
            {"video_processor_type": "LlavaOnevisionVideoProcessor", "size": _THIRTY_TWO},
        ),
        video="<video>",
        needs_torchvision=True,
    ),
    "mistral3": Checkpoint(
        {IMAGE: "[IMG]", START: "[IMG_BREAK]", END: "[IMG_END]"},
        "[IMG]",
        split(
            {"image_processor_type": "PixtralImageProcessor", "patch_size": 8, "size": {"longest_edge": 64}},
            {"processor_class": "PixtralProcessor", "patch_size": 8, "spatial_merge_size": 2},
        ),
        needs_torchvision=True,
    ),
    "qwen2_5_vl": _qwen(),
    "qwen2_vl": _qwen(),
    "qwen3_vl": _qwen(
        {
            "video_processor_type": "Qwen3VLVideoProcessor",
            "size": {"shortest_edge": 4 * 32 * 32, "longest_edge": 8 * 64 * 64},
            **_PATCHES,
        }
    ),
    "smolvlm": Checkpoint(
        {
            IMAGE: "<image>",
            VIDEO: "<video>",
            START: "<fake_token_around_image>",
            END: "<global-img>",
            59: "<end_of_utterance>",
        },
        "<image>",
        split(
            {"image_processor_type": "SmolVLMImageProcessor", **_LONGEST},
            {"processor_class": "SmolVLMProcessor", "image_seq_len": 16},
            {"video_processor_type": "SmolVLMVideoProcessor", **_LONGEST},
        ),
        video="<video>",
        needs_torchvision=True,
    ),
}
"""By `model_type`."""

TORCHVISION = is_torchvision_available()
READABLE = sorted(name for name, checkpoint in CHECKPOINTS.items() if TORCHVISION or not checkpoint.needs_torchvision)
"""Families whose checkpoints can be read here."""
VIDEO_FAMILIES = sorted(name for name, checkpoint in CHECKPOINTS.items() if checkpoint.video)


def tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Words w0 .. w63, and the family's special tokens; anything else is w5."""
    checkpoint = CHECKPOINTS[family]
    names = {checkpoint.special.get(index, f"w{index}"): index for index in range(64)}
    words = Tokenizer(WordLevel(names, unk_token="w5"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special: dict[str, Any] = {"additional_special_tokens": list(checkpoint.special.values())}
    if checkpoint.named:
        special = {"extra_special_tokens": dict(checkpoint.named)}
    return PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="w5", pad_token="w0", eos_token=f"w{EOS}", **special
    )


def template(family: str) -> str:
    """One turn: images, text, and a word that asks for the answer."""
    return (
        "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}"
        + CHECKPOINTS[family].placeholder
        + " {% elif c['type'] == 'video' %}"
        + CHECKPOINTS[family].video
        + " {% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %} w7{% endif %}"
    )


def save_processor(family: str, folder: Path) -> Path:
    """Everything of a checkpoint folder but the weights."""
    tiny_model(family).config.save_pretrained(folder)
    CHECKPOINTS[family].save(tokenizer(family), template(family), folder)
    return folder


def save_checkpoint(family: str, folder: Path, legacy_template: bool = False) -> Path:
    """A checkpoint folder with config, safetensors, tokenizer, image processor and chat template.

    Args:
        legacy_template: keep the template in chat_template.json alone, as the hub's Qwen2.5-VL checkpoints do.
    """
    tiny_model(family).save_pretrained(folder)
    save_processor(family, folder)
    if legacy_template:
        (folder / "chat_template.jinja").unlink()
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": template(family)}))
    return folder
