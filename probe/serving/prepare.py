"""From a request to the inputs and settings of `generate()`."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedModel

from halfv_core.errors import DataError, UnsupportedError
from halfv_core.families import parts_of
from halfv_core.models import LoadedModel
from halfv_core.placement import device_of
from halfv_core.processors import Inputs
from probe.data.images import open_images
from probe.serving.requests import Request, conversation

LONGEST_ANSWER = 1024
"""Tokens, unless the request or the checkpoint allows more; as in `transformers serve`."""

_CACHES = (None, "dynamic", "dynamic_full")


@dataclass(frozen=True)
class Prepared:
    """A prompt and how it is to be answered."""

    inputs: Inputs
    settings: GenerationConfig
    seed: int | None
    stop_texts: list[str]
    """Texts that end the answer."""
    visual_tokens: int


def prepare(request: Request, loaded: LoadedModel, allow_urls: bool) -> Prepared:
    """Read the images of a request, run the processor, and translate the settings.

    Raises:
        DataError: an image, the conversation or its length cannot be served.
    """
    messages, sources = conversation(request.messages_in_order, allow_urls)
    inputs = loaded.processor.conversation(messages, open_images(sources), device_of(loaded.model))
    parts = parts_of(loaded.model)
    length = inputs["input_ids"].shape[1]
    longest = getattr(parts.decoder.config, "max_position_embeddings", None)
    room = longest - length if isinstance(longest, int) else LONGEST_ANSWER
    if room < 1:
        raise DataError(
            "the conversation is too long for this model",
            got=f"{length} tokens",
            expected=f"fewer than {longest}",
            remedy="use fewer or smaller images, or leave out earlier turns",
        )
    visual = torch.isin(inputs["input_ids"], torch.tensor(parts.visual_ids, device=inputs["input_ids"].device))
    settings = _settings(request, loaded.model.generation_config or GenerationConfig(), room)
    return Prepared(inputs, settings, request.seed, request.stop_texts, int(visual.sum()))


def _settings(request: Request, default: GenerationConfig, room: int) -> GenerationConfig:
    """The checkpoint's settings, changed as the request says; a temperature of 0 takes the likeliest tokens."""
    settings = copy.deepcopy(default)
    settings.max_length = None
    settings.max_new_tokens = min(room, request.longest_answer or max(LONGEST_ANSWER, default.max_new_tokens or 0))
    if request.temperature == 0:
        settings.do_sample = False
        settings.temperature = settings.top_p = settings.top_k = None
    elif request.temperature is not None or (request.top_p or 1.0) < 1:
        settings.do_sample = True
        settings.temperature = default.temperature if request.temperature is None else request.temperature
        settings.top_p = default.top_p if request.top_p is None else request.top_p
    return settings


def check_servable(model: PreTrainedModel) -> None:
    """Refuse settings of a checkpoint with which requests could not be answered one by one, or under a plan.

    Raises:
        UnsupportedError: a cache of a fixed length, several answers, beam search, or assisted decoding.
    """
    settings: Any = model.generation_config or GenerationConfig()
    found = {
        "cache_implementation": settings.cache_implementation not in _CACHES,
        "num_beams": (settings.num_beams or 1) > 1,
        "num_return_sequences": (settings.num_return_sequences or 1) > 1,
        "prefill_chunk_size": settings.prefill_chunk_size is not None,
        "prompt_lookup_num_tokens": settings.prompt_lookup_num_tokens is not None,
        "use_cache": settings.use_cache is False,
    }
    for name, refused in found.items():
        if refused:
            raise UnsupportedError(
                "a setting of the checkpoint cannot be served",
                got=f"{name}={getattr(settings, name)}",
                remedy="take it out of the checkpoint's generation_config.json",
            )
