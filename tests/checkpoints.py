"""Tiny random checkpoints on disk, in the layout that the hub has for each family."""

import json
from pathlib import Path

from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from transformers import LlavaNextProcessor, LlavaProcessor, PreTrainedTokenizerFast
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from tests.tiny import END, EOS, IMAGE, START, VIDEO, tiny_model

SPECIAL = {
    "qwen2_5_vl": {IMAGE: "<|image_pad|>", VIDEO: "<|video_pad|>", START: "<|vision_start|>", END: "<|vision_end|>"},
    "llava": {IMAGE: "<image>"},
    "llava_next": {IMAGE: "<image>"},
}
PLACEHOLDER = {"qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>", "llava": "<image>", "llava_next": "<image>"}


def tokenizer(family: str) -> PreTrainedTokenizerFast:
    """Words w0 .. w63, and the family's special tokens; anything else is w5."""
    names = {SPECIAL[family].get(index, f"w{index}"): index for index in range(64)}
    words = Tokenizer(WordLevel(names, unk_token="w5"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = list(SPECIAL[family].values())
    return PreTrainedTokenizerFast(
        tokenizer_object=words, unk_token="w5", pad_token="w0", eos_token=f"w{EOS}", additional_special_tokens=special
    )


def template(family: str) -> str:
    """One turn: images, text, and a word that asks for the answer."""
    return (
        "{% for m in messages %}{% for c in m['content'] %}{% if c['type'] == 'image' %}"
        + PLACEHOLDER[family]
        + " {% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endfor %}{% if add_generation_prompt %} w7{% endif %}"
    )


def save_checkpoint(family: str, folder: Path, legacy_template: bool = False) -> Path:
    """A checkpoint folder with config, safetensors, tokenizer, image processor and chat template.

    Args:
        legacy_template: keep the template in chat_template.json alone, as the hub's Qwen2.5-VL checkpoints do.
    """
    tiny_model(family).save_pretrained(folder)
    words = tokenizer(family)
    common = {
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
        "chat_template": template(family),
    }
    if family == "llava":
        images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32)
        LlavaProcessor(images, words, patch_size=8, **common).save_pretrained(folder)
    elif family == "llava_next":
        sizes = {"size": {"shortest_edge": 32}, "crop_size": 32, "image_grid_pinpoints": [[64, 32]]}
        LlavaNextProcessor(LlavaNextImageProcessorPil(**sizes), words, patch_size=16, **common).save_pretrained(folder)
    else:
        size = {"shortest_edge": 64 * 64, "longest_edge": 64 * 64}
        Qwen2VLImageProcessorPil(patch_size=8, merge_size=2, temporal_patch_size=2, size=size).save_pretrained(folder)
        words.save_pretrained(folder)
        (folder / "chat_template.jinja").write_text(template(family))
    if legacy_template:
        (folder / "chat_template.jinja").unlink()
        (folder / "chat_template.json").write_text(json.dumps({"chat_template": template(family)}))
    return folder
