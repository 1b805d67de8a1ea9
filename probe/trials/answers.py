"""Answer quality: the full model's greedy answer, and how likely another run of the model is to give it.

Selectors look at the last prompt token, so the answer is never part of the prefill: the prompt runs first, and the
answer continues its KV cache, as in generation.
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
    """What one run of the model says about a given answer."""

    log_likelihood: float
    """Mean log-probability of the answer's tokens, nats per token."""
    agrees: bool
    """Whether greedy decoding gives exactly this answer."""
    first_token_seconds: float
    """Wall-clock time from the inputs to the first token's id, including the vision tower."""


def greedy_answer(model: PreTrainedModel, inputs: Inputs, max_new_tokens: int) -> torch.Tensor:
    """`greedy_answers` for a batch of one."""
    return greedy_answers(model, inputs, max_new_tokens)[0]


@torch.no_grad()
def greedy_answers(model: PreTrainedModel, inputs: Inputs, max_new_tokens: int) -> list[torch.Tensor]:
    """The greedy answers to prompts; sampling and penalties of the checkpoint's generation config are switched off.

    Args:
        inputs: model inputs, padded on the left.

    Returns:
        For each row (T,) token ids, including the end token if it comes within `max_new_tokens`.
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
    answers = ids[:, inputs["input_ids"].shape[1] :]
    if len(answers) == 1:
        return [answers[0]]
    end = model.generation_config.eos_token_id
    if end is None:
        return list(answers)
    return [_up_to_end(answer, torch.tensor(end, device=ids.device).reshape(-1)) for answer in answers]


def _up_to_end(answer: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
    """A row without the padding that follows its end token."""
    found = torch.isin(answer, ends).nonzero()
    return answer[: int(found[0]) + 1] if len(found) else answer


def continued(inputs: Inputs, ids: torch.Tensor) -> dict[str, torch.Tensor]:
    """A prompt with text after it, as one prompt.

    Args:
        inputs: a batch of one.
        ids: (1, t) token ids.

    Raises:
        DataError: the prompt is padded, which leaves the positions of a continuation undefined.
    """
    _check_unpadded(inputs)
    longer = {  # whatever else has a number for each token says that it is text by 0
        name: torch.nn.functional.pad(value, (0, ids.shape[1])) if value.shape == inputs["input_ids"].shape else value
        for name, value in inputs.items()
    }
    longer["input_ids"] = torch.cat([inputs["input_ids"], ids], 1)
    longer["attention_mask"] = torch.ones_like(longer["input_ids"])
    return longer


@torch.no_grad()
def read_answer(model: PreTrainedModel, inputs: Inputs, answer: torch.Tensor) -> Reading:
    """Likelihood of an answer under the model in its present state, and whether greedy decoding would give it.

    Greedy decoding gives the answer if and only if each of its tokens is the most likely one after those before it, so
    one prefill and one continuation replace a whole generation.

    Args:
        inputs: the prompt, batch of one, without padding.
        answer: (T,) token ids, T >= 1.

    Raises:
        DataError: the prompt is padded, which leaves the positions of a continuation undefined; the answer is empty; or
            the logits are NaN or infinite, as when float16 overflows.
    """
    if len(answer) == 0:
        raise DataError("there is no answer to read", got="0 tokens", expected="1 or more")
    _check_unpadded(inputs)
    began = time.perf_counter()
    prefill = model(**inputs, use_cache=True, logits_to_keep=1)
    prefill.logits[0, -1].argmax().item()  # wait for the device, whichever it is
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


def _check_unpadded(inputs: Inputs) -> None:
    if not bool(inputs["attention_mask"].all()):
        raise DataError("answers are read after prompts without padding")
