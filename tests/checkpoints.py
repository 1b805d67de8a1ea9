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
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

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


def save_parts(words: PreTrainedTokenizerFast, template: str, folder: Path) -> None:
    """Image processor, tokenizer and template alone, where the processor itself cannot be constructed."""
    size = {"shortest_edge": 64 * 64, "longest_edge": 64 * 64}
    Qwen2VLImageProcessorPil(patch_size=8, merge_size=2, temporal_patch_size=2, size=size).save_pretrained(folder)
    words.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(template)


def save_whole(
    processor: Any, images: Any, options: dict[str, Any], words: PreTrainedTokenizerFast, template: str, folder: Path
) -> None:
    """A processor of a class."""
    processor(images, words, chat_template=template, **options).save_pretrained(folder)


def whole(processor: Any, images: Any, **options: Any) -> Save:
    """How a processor of this class is saved."""
    return partial(save_whole, processor, images, options)


_TILES = {"size": {"shortest_edge": 32}, "crop_size": 32}
_LLAVA = {"vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
_QWEN = Checkpoint(
    {IMAGE: "<|image_pad|>", VIDEO: "<|video_pad|>", START: "<|vision_start|>", END: "<|vision_end|>"},
    "<|vision_start|><|image_pad|><|vision_end|>",
    save_parts,
)
CHECKPOINTS = {
    "gemma3": Checkpoint(
        {IMAGE: "<image_soft_token>", START: "<start_of_image>", END: "<end_of_image>"},
        "<start_of_image>",
        whole(Gemma3Processor, Gemma3ImageProcessorPil(size={"height": 64, "width": 64}), image_seq_length=16),
        (("image_token", "<image_soft_token>"), ("boi_token", "<start_of_image>"), ("eoi_token", "<end_of_image>")),
    ),
    "idefics3": Checkpoint(
        {IMAGE: "<image>", START: "<fake_token_around_image>", END: "<global-img>", 59: "<end_of_utterance>"},
        "<image>",
        whole(
            Idefics3Processor,
            Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 64}),
            image_seq_len=16,
        ),
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
    "qwen2_5_vl": _QWEN,
    "qwen2_vl": _QWEN,
    "qwen3_vl": _QWEN,
}
"""By `model_type`; those of the families that are not here are named in `NOT_COVERED`."""

_VIDEO = "its processor has a video part that cannot be constructed without torchvision"
NOT_COVERED = {
    "internvl": _VIDEO,
    "llava_onevision": _VIDEO,
    "mistral3": "its PixtralProcessor cannot be constructed without torchvision",
    "smolvlm": _VIDEO,
}
"""Family -> why no checkpoint of it is read in the tests."""


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
        + " {% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %} w7{% endif %}"
    )


def save_checkpoint(family: str, folder: Path, legacy_template: bool = False) -> Path:
    """A checkpoint folder with config, safetensors, tokenizer, image processor and chat template.

    Args:
        legacy_template: keep the template in chat_template.json alone, as the hub's Qwen2.5-VL checkpoints do.
    """
    tiny_model(family).save_pretrained(folder)
    CHECKPOINTS[family].save(tokenizer(family), template(family), folder)
    if legacy_template:
        (folder / "chat_template.jinja").unlink()
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": template(family)}))
    return folder
