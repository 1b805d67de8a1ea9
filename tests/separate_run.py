"""Slow and obvious: a variant of a prompt as a whole run of the model of its own, changed by hooks."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel

from halfv_core.families import parts_of
from probe.capture.changes import Change, Variant


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


@torch.no_grad()
def separate_scores(model: PreTrainedModel, inputs: Mapping[str, Any], variants: Sequence[Variant]) -> torch.Tensor:
    """(n+1, vocabulary) float64 log-probabilities of the next token: of the unchanged run, then of each variant."""
    parts = parts_of(model)
    states = [separate_run(model, inputs, variant)[-1:] for variant in ({}, *variants)]
    return torch.cat([parts.head(parts.norm(state)) for state in states]).double().log_softmax(-1)


def changes(scores: torch.Tensor) -> list[float]:
    """From `separate_scores`: by how much the likeliest token's log-probability changes in each variant."""
    token = int(scores[0].argmax())
    return [float(row[token] - scores[0, token]) for row in scores[1:]]


def divergences(scores: torch.Tensor) -> list[float]:
    """From `separate_scores`: KL(unchanged || variant), term by term."""
    pairs = [zip(scores[0].tolist(), row.tolist(), strict=True) for row in scores[1:]]
    return [sum(math.exp(p) * (p - q) for p, q in pair) for pair in pairs]


@contextmanager
def evaluations(model: PreTrainedModel) -> Iterator[list[int]]:
    """Inside the block, the number of tokens of each call of a layer is noted."""
    counted: list[int] = []
    hooks = [
        layer.mlp.register_forward_pre_hook(lambda _, args: counted.append(args[0].shape[0] * args[0].shape[1]))
        for layer in parts_of(model).layers
    ]
    yield counted
    for hook in hooks:
        hook.remove()
