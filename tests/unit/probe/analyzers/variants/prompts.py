"""Prompts of tiny models, probed."""

import json
from typing import Any, NamedTuple

import pytest
import torch
from transformers import PreTrainedModel

from probe.analysis.step import _looked_at
from probe.analyzers import variants  # noqa: F401 - it registers probes
from probe.analyzers.probe import PROBES
from probe.capture.prompt_run import PromptRun
from probe.trials.answers import greedy_answer
from tests.tiny import IMAGE, tiny_model, tiny_prompt

FAMILIES = pytest.mark.parametrize("family", ["gemma3", "llava", "mistral3", "qwen3_vl"])
"""With sliding windows, without anything, with text inside of images, with features added between layers."""


class Prompt(NamedTuple):
    """A prompt of N tokens with two images and text between them; masks are (N,) bool."""

    model: PreTrainedModel
    inputs: dict[str, Any]
    run: PromptRun
    visual: torch.Tensor
    after: torch.Tensor
    question: torch.Tensor
    last: torch.Tensor


def prompt_of(family: str, images: int = 2, tokens: int = 3) -> Prompt:
    """With the model's greedy answer of so many tokens."""
    model, inputs = tiny_model(family), tiny_prompt(family, images=images)
    run = PromptRun(model, inputs, answer=greedy_answer(model, inputs, tokens).tolist())
    visual = inputs["input_ids"][0] == IMAGE
    places = torch.arange(len(visual))
    after = ~visual & (places > visual.int().argmax())
    last = places == len(visual) - 1
    return Prompt(model, inputs, run, visual, after, after & ~last, last)


def measured(name: str, run: PromptRun) -> Any:
    """The item of one probe, as it comes out of a file."""
    probe = PROBES[name]()
    looked = _looked_at({name: probe}, run).get(name, [])
    return json.loads(json.dumps(probe.measure(run, looked, example=False)))
