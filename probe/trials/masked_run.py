"""Masked reference: what a plan means, without removing a token.

Every layer runs on all N tokens of the prompt. Tokens that the plan drops stay in the sequence, but from that layer on
no other token attends to them; in a frozen layer all tokens are computed, and the hidden states of the visual ones are
then restored. It saves nothing, and shares with the runtime only the way in which methods are wrapped.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any

import torch
from transformers import PreTrainedModel

from halfv_core.families import Family, Parts, parts_of
from halfv_core.plan import Plan
from halfv_core.runtime.layer_input import arguments_of
from halfv_core.runtime.patching import Forward, Wrap, by_name, wrapped
from probe.trials.answers import Inputs


@torch.no_grad()
def masked_logits(
    model: PreTrainedModel,
    inputs: Inputs,
    plan: Plan,
    kept: Mapping[int, torch.Tensor],
    *,
    family: Family | None = None,
) -> torch.Tensor:
    """(vocabulary,) logits at the last token of a prompt, float32, under a plan that drops given tokens.

    Args:
        model: with the eager or sdpa kernel.
        inputs: one prompt, batch of one, without padding.
        plan: whose frozen layers count; without interventions the result is the model's own, with explicit masks.
        kept: by layer of each Keep, the positions of the visual tokens that stay from there on.
    """
    with _masked(parts_of(model, family), inputs["input_ids"][0], plan, kept):
        return model(**inputs, use_cache=False, logits_to_keep=1).logits[0, -1].float()  # type: ignore[no-any-return]


@contextmanager
def _masked(parts: Parts, ids: torch.Tensor, plan: Plan, kept: Mapping[int, torch.Tensor]) -> Iterator[None]:
    visual = torch.isin(ids.cpu(), torch.tensor(parts.visual_ids))  # (N,)
    remaining = torch.ones_like(visual)

    def around(index: int) -> Any:
        nonlocal remaining
        if index in kept:
            remaining = ~visual
            remaining[kept[index].cpu()] = True
        at_layer, frozen = remaining.clone(), index in plan.frozen_layers

        def wrap(forward: Forward) -> Forward:
            @wraps(forward)
            def run(hidden: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
                kwargs = by_name(forward, args, kwargs)
                if index in parts.recurrent:
                    output = _in_order(forward, hidden, kwargs, at_layer)
                else:
                    kwargs["attention_mask"] = _without(at_layer, kwargs.get("attention_mask"), hidden)
                    output = forward(hidden, **kwargs)
                if frozen:
                    where = visual.to(output.device)
                    output = torch.where(where[None, :, None], hidden.to(output.device), output)
                return output

            return run

        return wrap

    with wrapped([Wrap(layer, "forward", around(index)) for index, layer in enumerate(parts.layers)]):
        yield


def _in_order(
    forward: Forward, hidden: torch.Tensor, kwargs: Mapping[str, Any], remaining: torch.Tensor
) -> torch.Tensor:
    """A layer with a running state, which has no columns to mask: it gets the remaining tokens, and no others.

    Args:
        hidden: (1, N, D), its input.
        kwargs: the other arguments of its call for all tokens, which are not padded.
        remaining: (N,) bool.
    """
    where = remaining.nonzero()[:, 0].to(hidden.device)
    arguments = arguments_of(kwargs, where[None], len(remaining)) | {"attention_mask": None}
    return hidden.index_copy(1, where, forward(hidden[:, where], **arguments))


def _without(remaining: torch.Tensor, mask: torch.Tensor | None, hidden: torch.Tensor) -> torch.Tensor:
    """(1, 1, N, N) additive mask: the model's own, causal if it gave none, without the columns that were dropped.

    A dropped token still attends to itself, so that no row is empty.
    """
    length, device = len(remaining), hidden.device
    if mask is None:
        seen = torch.ones(length, length, dtype=torch.bool, device=device).tril()
    else:
        seen = (mask[0, 0] if mask.dtype == torch.bool else mask[0, 0] == 0).to(device)
    seen = seen & remaining.to(device) | torch.eye(length, dtype=torch.bool, device=device)
    blocked = torch.finfo(hidden.dtype).min
    return torch.zeros(1, 1, length, length, dtype=hidden.dtype, device=device).masked_fill(~seen, blocked)
