"""From a request to the inputs and settings of `generate()`."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from pydantic import JsonValue
from transformers import CompileConfig, GenerationConfig, PreTrainedModel
from transformers.cli.serving.utils import get_response_template

from halfv_core.errors import DataError, HalfVError, UnsupportedError
from halfv_core.families import parts_of
from halfv_core.models import LoadedModel
from halfv_core.placement import device_of
from halfv_core.processors import Inputs, PromptProcessor
from probe.data.images import open_images
from probe.data.videos import FRAMES, VideoFile, open_videos
from probe.serving.messages import conversation
from probe.serving.requests import Request

LONGEST_ANSWER = 1024
"""Tokens, unless the request or the checkpoint allows more; as in `transformers serve`."""

MAX_DECODED_PIXELS = 20_000_000_000
"""Most pixels that are decoded for the videos of one request, a minute or two of work: a request is not as trusted as
calibration data are, and others wait for it."""

_CACHES = (None, "dynamic", "dynamic_full")


@dataclass(frozen=True)
class RequestOptions:
    """How requests are read and answered."""

    allow_urls: bool = False
    """Whether requests may name images and videos by addresses, which are then downloaded."""
    frames: int = FRAMES
    """How many frames of each video are used, from the first to the last one."""
    template_values: Mapping[str, JsonValue] = field(default_factory=dict)
    """What the chat template reads besides the messages, by name, unless a request says otherwise."""
    compile: bool = False
    """Whether decoding is compiled, with a static cache."""

    def check(self, processor: PromptProcessor) -> None:
        """Raise HalfVError for a value that the chat template does not read."""
        names = processor.template_names - {"tools"}
        unread = sorted(self.template_values.keys() - names)
        if unread:
            raise HalfVError(
                "the model's chat template does not read a value",
                got=unread[0],
                expected=", ".join(sorted(names)) or "none",
                remedy="change --chat-template-kwargs, or leave out --reasoning",
            )


@dataclass(frozen=True)
class Prepared:
    """A prompt and how it is to be answered."""

    inputs: Inputs
    settings: GenerationConfig
    seed: int | None
    stop_texts: list[str]
    """Texts that end the answer."""
    tools: list[dict[str, Any]]
    """What the answer may call."""
    visual_tokens: int


def prepare(request: Request, loaded: LoadedModel, options: RequestOptions) -> Prepared:
    """Read the images and videos of a request, run the processor, and translate the settings.

    Raises:
        DataError: an image, a video, the conversation or its length cannot be served.
    """
    inputs = _inputs(request, loaded, options)
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
    if options.compile:
        settings.cache_implementation = "static"
        settings.compile_config = compile_config(device_of(loaded.model))
    return Prepared(inputs, settings, request.seed, request.stop_texts, request.callable_tools, int(visual.sum()))


def _inputs(request: Request, loaded: LoadedModel, options: RequestOptions) -> Inputs:
    messages = request.messages_in_order
    shown = conversation(messages, options.allow_urls)
    if shown.videos and not loaded.processor.takes_videos:
        raise DataError("this model's processor takes no videos", remedy="send frames as images")
    names = set(loaded.processor.template_names)
    if (request.tools or any(message.is_about_tools for message in messages)) and "tools" not in names:
        raise DataError("this model's chat template knows no tools", remedy="leave out tools and what they returned")
    if request.tools and get_response_template(loaded.processor.tokenizer, loaded.model) is None:
        raise DataError("transformers does not know how this model calls tools", remedy="leave out tools")
    images = open_images(shown.images)
    files = [VideoFile(video, options.frames) for video in shown.videos]
    videos = open_videos(files, images, MAX_DECODED_PIXELS // max(1, len(files)))
    asked = {name: value for name, value in request.chat_template_kwargs.items() if name in names - {"tools"}}
    values: dict[str, Any] = {**options.template_values, **asked}
    if request.tools:
        values["tools"] = request.callable_tools
    return loaded.processor.conversation(shown.messages, images, device_of(loaded.model), videos, values)


def compile_config(device: torch.device) -> CompileConfig:
    """How `generate` compiles decoding: with transformers' own settings, on a CPU as well."""
    config = CompileConfig()
    config._compile_all_devices = device.type == "cpu"  # type: ignore[assignment] # it is None by default
    return config


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
