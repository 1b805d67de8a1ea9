"""Answers as a measure of quality: the full model's greedy answer, and how another run of the model stands to it.

Selection looks at the last prompt token, so an answer is never part of the prefill: the prompt runs first, then the
answer continues its cache, as it would in generation.
"""

import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from transformers import GenerationConfig, PreTrainedModel

from halfv_core.errors import DataError

Inputs = Mapping[str, torch.Tensor]


class Reading(NamedTuple):
    """One answer read under one run of the model."""

    log_likelihood: float
    """Mean log-probability of the answer's tokens, nats a token."""
    agrees: bool
    """Whether greedy decoding gives exactly this answer."""
    first_token_seconds: float
    """Wall time from the inputs to the first token's id, vision tower included."""


@torch.no_grad()
def greedy_answer(model: PreTrainedModel, inputs: Inputs, max_new_tokens: int) -> torch.Tensor:
    """(T,) ids of the greedy answer, the end token included when it comes within `max_new_tokens`.

    Sampling and penalties that a checkpoint's generation config asks for are switched off.
    """
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        temperature=1.0,
        top_k=50,
        top_p=1.0,
        bos_token_id=model.generation_config.bos_token_id,
        eos_token_id=model.generation_config.eos_token_id,
        pad_token_id=model.generation_config.pad_token_id,
    )
    generate: Any = model.generate
    ids: torch.Tensor = generate(**inputs, generation_config=config)
    return ids[0, inputs["input_ids"].shape[1] :]


@torch.no_grad()
def read_answer(model: PreTrainedModel, inputs: Inputs, answer: torch.Tensor) -> Reading:
    """Likelihood of an answer, and whether the model, as it is now, would give it.

    Greedy decoding gives the answer if and only if every token of it is the likeliest after those before it, so one
    prefill and one continuation stand for a whole generation.

    Args:
        inputs: the prompt, batch of one.
        answer: (T,) ids, T >= 1.

    Raises:
        DataError: the prompt is padded, so that it is unclear where a continuation stands; the answer is empty; or the
            logits are NaN or infinite, as when float16 overflows.
    """
    if len(answer) == 0:
        raise DataError("there is no answer to read", got="0 tokens", expected="1 or more")
    if not bool(inputs["attention_mask"].all()):
        raise DataError("answers are read after prompts without padding")
    began = time.perf_counter()
    prefill = model(**inputs, use_cache=True, logits_to_keep=1)
    prefill.logits[0, -1].argmax().item()  # waits for the device, whichever that is
    seconds = time.perf_counter() - began
    logits = [prefill.logits[0, -1:]]  # (1, vocabulary)
    if len(answer) > 1:
        continued = model(
            input_ids=answer[None, :-1],
            past_key_values=prefill.past_key_values,
            use_cache=True,
        )
        logits.append(continued.logits[0])
    scores = torch.cat(logits).float().log_softmax(-1)  # (T, vocabulary)
    likelihood = float(scores.gather(1, answer[:, None]).mean())
    if not math.isfinite(likelihood):
        raise DataError("logits are not finite", remedy="load the model in bfloat16 or float32")
    return Reading(likelihood, bool((scores.argmax(-1) == answer).all()), seconds)
