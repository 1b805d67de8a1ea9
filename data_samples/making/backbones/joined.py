"""Tower and decoder joined into a stock LLaVA, with the processor that goes with it."""

from typing import Any, NamedTuple

import torch
from transformers import (
    BitImageProcessorPil,
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from data_samples.making.backbones.bases import Bases
from data_samples.making.generator.drawing import SIZE

FEATURE_LAYER = -2
IMAGE = "<image>"
ROWS = 64
"""The word embeddings get rows in multiples of this, so that matrix products stay fast."""
AS_STRINGS = """\
{%- set said = namespace(messages=[]) -%}
{%- for message in messages -%}
{%- set text = namespace(value='') -%}
{%- if message['content'] is string -%}
{%- set text.value = message['content'] -%}
{%- else -%}
{%- for part in message['content'] -%}
{%- if part['type'] == 'image' -%}
{%- set text.value = text.value + '<image>\n' -%}
{%- elif 'text' in part -%}
{%- set text.value = text.value + part['text'] -%}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- set said.messages = said.messages + [{'role': message['role'], 'content': text.value}] -%}
{%- endfor -%}
{%- set messages = said.messages -%}
"""
"""Stands before a decoder's own chat template, which knows messages of text only."""


class Joined(NamedTuple):
    """A LLaVA whose projector has random weights, and its processor."""

    model: Any
    processor: LlavaProcessor


def join(bases: Bases, seed: int = 0) -> Joined:
    """Join the bases, whose modules the model takes over.

    Args:
        seed: of the projector's weights.
    """
    tower, decoder, tokenizer = bases.tower, bases.decoder, bases.tokenizer
    tokenizer.chat_template = AS_STRINGS + str(tokenizer.chat_template)
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]}, replace_extra_special_tokens=False)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    _make_room(decoder, len(tokenizer))
    text = decoder.config
    config = LlavaConfig(
        text_config=text,
        vision_config=tower.config,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=(SIZE // tower.config.patch_size) ** 2,
        vision_feature_layer=FEATURE_LAYER,
        vision_feature_select_strategy="default",
        tie_word_embeddings=text.tie_word_embeddings,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    torch.manual_seed(seed)
    model.model.vision_tower = tower
    model.model.language_model = decoder.model
    model.lm_head = decoder.lm_head
    model.model.multi_modal_projector = LlavaMultiModalProjector(config)
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return Joined(model.eval(), _processor(tower.config.patch_size, tokenizer))


@torch.no_grad()
def _make_room(decoder: Any, tokens: int) -> None:
    """Rows for added tokens; they are zero, since features take the place of the image token."""
    rows = decoder.get_input_embeddings().weight.shape[0]
    if tokens <= rows:
        return
    decoder.resize_token_embeddings(tokens, pad_to_multiple_of=ROWS, mean_resizing=False)
    for layer in (decoder.get_input_embeddings(), decoder.get_output_embeddings()):
        layer.weight[rows:] = 0.0


def _processor(patch: int, tokenizer: Any) -> LlavaProcessor:
    images = BitImageProcessorPil(
        size={"shortest_edge": SIZE},
        crop_size={"height": SIZE, "width": SIZE},
        image_mean=IMAGENET_DEFAULT_MEAN,
        image_std=IMAGENET_DEFAULT_STD,
    )
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=IMAGE,
        chat_template=tokenizer.chat_template,
    )
