"""Head importance: what it costs the answer when one query head of layer 0 is switched off.

    importance[h] = log-likelihood of the full model's answer  -  the same with head h off      nats per token

A head is off when its part of the attention's output is zero, in the prompt and in the answer. HAWK (arXiv 2604.07812)
weights heads by what benchmarks lose without them; the answer's likelihood needs no reference answers, and is finer
than the number of right ones on a few samples.

The vision tower runs once, and the decoder once for each head: H prefills, of which none can be shared, since layer 0
is the first.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from transformers import PreTrainedModel

from halfv_core.errors import UnsupportedError
from halfv_core.families import Family, parts_of
from halfv_core.families.base import Parts
from halfv_core.runtime.patching import Forward, Wrap, wrapped
from probe.capture.replay import Replay
from probe.trials.answers import Inputs, read_answer


@torch.no_grad()
def head_importance(
    model: PreTrainedModel,
    inputs: Inputs,
    answer: torch.Tensor,
    log_likelihood: float,
    *,
    family: Family | None = None,
) -> list[float]:
    """The importance of each of the H query heads of layer 0 on one prompt.

    Args:
        inputs: model inputs, batch of one, without padding.
        answer: (T,) ids of the full model's answer.
        log_likelihood: mean log-probability of these tokens under the full model, nats per token.

    Returns:
        H numbers, nats per token; negative if the answer becomes more likely.

    Raises:
        DataError: see `read_answer`.
        UnsupportedError: tensor parallelism has put the heads into several processes.
    """
    parts = parts_of(model, family)
    if parts.ranks.group is not None:
        raise UnsupportedError(
            "single heads cannot be switched off where tensor parallelism has put them into several processes",
            remedy="run the model in one process",
        )
    replay = Replay(model, inputs, family=family)
    drops = []
    for head in range(parts.decoder.config.num_attention_heads):
        with _head_off(parts, head), replay.from_layer(0):
            drops.append(log_likelihood - read_answer(model, inputs, answer).log_likelihood)
    return drops


@contextmanager
def _head_off(parts: Parts, head: int) -> Iterator[None]:
    """Inside the block, the output of one head of layer 0 is zero."""
    attention = parts.layers[0].self_attn
    first = head * attention.head_dim

    def without(forward: Forward) -> Forward:
        @wraps(forward)
        def run(states: torch.Tensor) -> Any:
            states = states.clone()  # (B, n, H * head_dim)
            states[..., first : first + attention.head_dim] = 0.0
            return forward(states)

        return run

    with wrapped([Wrap(attention.o_proj, "forward", without)]):
        yield
