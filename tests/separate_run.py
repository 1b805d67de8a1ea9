"""Slow and obvious: a variant of a prompt as a whole run of the model of its own, changed by hooks."""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

from halfv_core.families import parts_of
from probe.capture.variants import Change, Variant


@torch.no_grad()
def separate_run(model: PreTrainedModel, inputs: Mapping[str, Any], variant: Variant) -> torch.Tensor:
    """(N, D) hidden states after the last layer, before the final norm.

    Args:
        inputs: model inputs, batch of one.
    """
    parts = parts_of(model)
    handles, found = [], []

    def before_layer(change: Change) -> Any:
        def run(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            (hidden,) = args
            if change.put is not None:
                rows, states = change.put
                hidden = hidden.clone()
                hidden[0, rows] = states[rows].to(hidden)
            if change.unseen is not None:
                mask = _as_seen(kwargs["attention_mask"], hidden.shape[1])
                for row in change.unseen[0].nonzero()[:, 0].tolist():
                    mask[row, change.unseen[1]] = False
                blocked = torch.finfo(hidden.dtype).min
                kwargs["attention_mask"] = torch.where(mask, 0.0, blocked).to(hidden.dtype)[None, None]
            return (hidden,), kwargs

        return run

    def before_output(change: Change, width: int) -> Any:
        def run(_: Any, args: tuple[Any, ...]) -> Any:
            assert change.head_off is not None
            rows, head = change.head_off
            states = args[0].clone()
            states[0, rows, head * width : (head + 1) * width] = 0.0
            return (states,)

        return run

    def after_last(_: Any, args: Any, output: torch.Tensor) -> None:
        found.append(output[0].clone())

    for index, layer in enumerate(parts.layers):
        change = variant.get(index, Change())
        handles.append(layer.register_forward_pre_hook(before_layer(change), with_kwargs=True))
        if change.head_off is not None:
            attention = layer.self_attn
            handles.append(attention.o_proj.register_forward_pre_hook(before_output(change, attention.head_dim)))
    handles.append(parts.layers[-1].register_forward_hook(after_last))
    try:
        model(**inputs, use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    states: torch.Tensor = found[0]
    last = variant.get(len(parts.layers), Change()).put
    if last is not None:
        states[last[0]] = last[1][last[0]].to(states)
    return states


def _as_seen(mask: torch.Tensor | None, length: int) -> torch.Tensor:
    if mask is None:
        return torch.ones(length, length).tril().bool()
    return mask[0, 0].clone() if mask.dtype == torch.bool else mask[0, 0] == 0
