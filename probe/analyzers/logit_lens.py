"""Logit lens: the next token that the model would predict from a hidden state, were its layer the last one.

    p(x) = softmax(W_U norm(x))        norm: the model's final norm, W_U: its LM head

"Interpreting GPT: the logit lens" (nostalgebraist, 2020). x is a state before the final norm, which is applied here and
nowhere else: a state that has been normed already, such as the last of transformers' `hidden_states`, would be normed
twice. Everything is float32, whatever the model's dtype. Cost of n states: the LM head on n rows.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch

from halfv_core.errors import DataError
from halfv_core.families import Parts
from halfv_core.placement import device_of
from probe.analyzers.next_token import head_logits
from probe.capture.prompt_run import PromptRun

SHOWN_WORDS = 5
"""Words that are shown of a distribution, as in VisiPruner's notebooks."""

_ROWS = 256
"""Distributions that are in memory at once: 156 MB with Qwen2.5-VL's vocabulary of 152,064 tokens."""

WordList = list[tuple[str, float]]
"""Words with their probabilities, the likeliest first."""


class Likeliest(NamedTuple):
    """The likeliest tokens of n distributions, on the CPU."""

    ids: torch.Tensor
    """(n, k) int64, the likeliest first."""
    probabilities: torch.Tensor
    """(n, k) float32."""


@torch.no_grad()
def lens(parts: Parts, states: torch.Tensor) -> Iterator[torch.Tensor]:
    """Log-probabilities of the next token from each state, some states at a time.

    Args:
        parts: of the model.
        states: (n, D), before the final norm.

    Yields:
        (b, vocabulary) float32, nats; together n rows.

    Raises:
        DataError: logits that are NaN or infinite.
    """
    for block in states.to(device_of(parts.norm)).split(_ROWS):
        logits = head_logits(parts, [block]).float()
        if not logits.isfinite().all():
            raise DataError("logits are not finite", remedy="load the model in bfloat16 or float32")
        yield logits.log_softmax(-1)


def likeliest(blocks: Iterable[torch.Tensor], count: int) -> Likeliest:
    """The `count` likeliest tokens of distributions as `lens` yields them."""
    found = [block.topk(count) for block in blocks]
    return Likeliest(
        torch.cat([block.indices for block in found]).cpu(), torch.cat([block.values for block in found]).exp().cpu()
    )


def word_lists(run: PromptRun, found: Likeliest) -> list[WordList]:
    """For each of n distributions its likeliest words; probabilities have four significant digits."""
    return [
        list(zip(run.words(ids), (float(f"{share:.4g}") for share in shares), strict=True))
        for ids, shares in zip(found.ids.tolist(), found.probabilities.tolist(), strict=True)
    ]


def first_answer_token(run: PromptRun) -> int:
    """The first token of the full model's greedy answer; the likeliest one where the run was given no answer."""
    return run.answer[0] if run.answer else int(likeliest(lens(run.parts, run.states[-1, -1:]), 1).ids)
