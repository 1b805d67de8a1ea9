"""Slow and obvious: what a plan means, by masking pruned tokens and overwriting frozen ones instead of removing them.

Every layer runs on all N tokens. Pruned visual tokens stay in the sequence, but no other token may attend to them; in a
frozen layer all tokens are computed, and the hidden states of the visual ones are then restored. Vision features that
the model adds to visual tokens between layers are added after every layer that has some, frozen or not.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from transformers import PreTrainedModel

from halfv_core import Plan
from halfv_core.families import parts_of
from halfv_core.runtime.patching import Wrap, wrapped
from tests.tiny import continued


class Calls(NamedTuple):
    """What the model itself passes to its decoder layers."""

    hidden: list[torch.Tensor]
    """(1, N, D) input of each layer."""
    arguments: list[dict[str, Any]]
    """Keyword arguments of each layer's call."""
    features: list[torch.Tensor]
    """(N, D) vision features that it adds after layers 0, 1, ...; empty for most families."""


def layer_calls(model: PreTrainedModel, inputs: Mapping[str, Any]) -> Calls:
    """Run the model once and record the calls."""
    parts = parts_of(model)
    hidden: list[torch.Tensor] = []
    arguments: list[dict[str, Any]] = []
    features: list[torch.Tensor] = []

    def record_call(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        hidden.append(args[0])
        arguments.append(dict(kwargs))

    def record_features(add: Any) -> Any:
        def run(states: torch.Tensor, where: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
            features.append(torch.zeros_like(states[0]).masked_scatter(where[0][:, None], values))
            return add(states, where, values)

        return run

    handles = [layer.register_forward_pre_hook(record_call, with_kwargs=True) for layer in parts.layers]
    with wrapped([Wrap(parts.decoder, parts.deepstack, record_features)] if parts.deepstack else []):
        model(**inputs, use_cache=False)
    for handle in handles:
        handle.remove()
    return Calls(hidden, arguments, features)


def visible_keys(mask: torch.Tensor | None, real: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """(N, N) bool: which key columns each query row sees in the model's own mask, which must be causal for text."""
    causal = torch.ones(len(real), len(real)).tril().bool() & real
    if mask is None:
        return causal
    found = mask[0, 0] if mask.dtype == torch.bool else mask[0, 0] == 0
    assert torch.equal(found[text & real], causal[text & real])
    return found & real


def masked_logits(
    model: PreTrainedModel, inputs: Mapping[str, Any], plan: Plan, kept: Mapping[int, torch.Tensor]
) -> torch.Tensor:
    """(N, vocabulary) logits; those at pruned positions are meaningless.

    Args:
        model: any model of a registered family.
        inputs: model inputs, batch of one.
        plan: whose frozen layers count.
        kept: by layer of each Keep, the positions of the visual tokens kept there.
    """
    parts, calls = parts_of(model), layer_calls(model, inputs)
    hidden = calls.hidden[0]
    visual = torch.isin(inputs["input_ids"][0], torch.tensor(parts.visual_ids))  # (N,)
    length, real = len(visual), inputs["attention_mask"][0].bool()
    remaining = torch.ones(length, dtype=torch.bool)
    for index, (layer, arguments) in enumerate(zip(parts.layers, calls.arguments, strict=True)):
        if index in kept:
            remaining = ~visual
            remaining[kept[index]] = True
        allowed = visible_keys(arguments["attention_mask"], real, ~visual) & remaining  # (N, N)
        blocked = ~(allowed | torch.eye(length, dtype=torch.bool))
        mask = torch.zeros(1, 1, length, length).masked_fill(blocked, torch.finfo(torch.float32).min)
        output = layer(hidden, **(arguments | {"attention_mask": mask, "past_key_values": None}))
        if index in plan.frozen_layers:
            output[0, visual] = hidden[0, visual]
        if index < len(calls.features):
            output = output + calls.features[index]
        hidden = output
    return parts.head(parts.norm(hidden))[0]


def generate_by_recomputation(
    model: PreTrainedModel, inputs: Mapping[str, Any], plan: Plan, kept: Mapping[int, torch.Tensor], steps: int
) -> list[int]:
    """`steps` greedy token ids, for each of which the whole sequence runs again, without a cache."""
    grown, ids = dict(inputs), []
    for _ in range(steps):
        ids.append(int(masked_logits(model, grown, plan, kept)[-1].argmax()))
        grown = continued(grown, torch.tensor([ids[-1:]]))
    return ids
