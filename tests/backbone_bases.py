"""Tiny random stand-ins for the pretrained parts of data_samples/making/backbones, and settings of a few steps."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import Dinov2Config, Dinov2Model, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from data_samples.making.backbones.__main__ import SETTINGS, read_settings
from data_samples.making.backbones.bases import Bases, load_bases
from data_samples.making.generator.content import COLORS, SHAPES


def tiny_tower() -> Dinov2Model:
    """For pictures of 56 pixels, so that its position embeddings have to be fitted."""
    torch.manual_seed(0)
    shape = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 1, "mlp_ratio": 2}
    return Dinov2Model(Dinov2Config(**shape, patch_size=14, image_size=56, use_mask_token=False))


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    words = [f" {word}" for word in (*COLORS, *SHAPES, "What", "Where", "is", "the", "yes", "no")]
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<start>", "<end>"],
    )
    core.train_from_iterator(words * 5, trainer)
    template = (
        "{% for message in messages %}{{ '<start>' + message['role'] + '\n' + message['content'] + '<end>\n' }}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<start>assistant\n' }}{% endif %}"
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<start>", eos_token="<end>", chat_template=template
    )


def write_bases(folder: Path) -> Path:
    """Both bases, and settings of a few steps."""
    tiny_tower().save_pretrained(folder / "vision")
    tokenizer = tiny_tokenizer()
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    config = LlamaConfig(**shape, **heads, vocab_size=len(tokenizer), tie_word_embeddings=True)
    LlamaForCausalLM(config).save_pretrained(folder / "llm")
    tokenizer.save_pretrained(folder / "llm")
    settings = json.loads(SETTINGS.read_text())
    settings["align"] |= {"steps": 2, "batch": 1}
    settings["answer"] |= {"steps": 4, "batch": 1, "rate": 0.01}
    (folder / "settings.json").write_text(json.dumps(settings))
    return folder


def bases(folder: Path) -> Bases:
    return load_bases(folder / "vision", folder / "llm")


def settings(folder: Path, composed: bool = False) -> dict[str, Any]:
    return read_settings(folder / "settings.json", composed)
