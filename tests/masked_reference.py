"""Slow and obvious: what a plan means, by masking dead tokens and overwriting frozen rows instead of removing anything.

Every layer runs on all N tokens. Dead visual tokens stay in the sequence, but no living token may look at them; in a
frozen layer all rows are computed and the visual rows are then put back to what they were.
"""

from collections.abc import Mapping
from typing import Any

import torch
from transformers import PreTrainedModel

from halfv_core import Plan
from halfv_core.families import parts_of


def layer_inputs(model: PreTrainedModel, inputs: Mapping[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
    """What the model itself hands to decoder layer 0: (1, N, D) and the keyword arguments."""
    seen: list[Any] = []
    layer = parts_of(model).layers[0]
    handle = layer.register_forward_pre_hook(lambda _, args, kwargs: seen.extend([args, kwargs]), with_kwargs=True)
    with torch.no_grad():
        model(**inputs, use_cache=False)
    handle.remove()
    return seen[0][0], dict(seen[1])


@torch.no_grad()
def masked_logits(
    model: PreTrainedModel, inputs: Mapping[str, Any], plan: Plan, kept: Mapping[int, torch.Tensor]
) -> torch.Tensor:
    """(N, vocabulary) logits; those of dead positions mean nothing.

    Args:
        kept: for each Keep's layer the positions of the visual tokens that stay.
    """
    parts = parts_of(model)
    hidden, arguments = layer_inputs(model, inputs)
    visual = torch.isin(inputs["input_ids"][0], torch.tensor(parts.visual_ids))  # (N,)
    length = len(visual)
    padding = inputs["attention_mask"][0] == 0
    causal = torch.ones(length, length).triu(1).bool()
    alive = torch.ones(length, dtype=torch.bool)
    for index, layer in enumerate(parts.layers):
        if index in kept:
            alive = ~visual
            alive[kept[index]] = True
        blocked = causal | ~alive | padding  # (N, N): query row may not see key column
        blocked = blocked & ~torch.eye(length, dtype=torch.bool)
        mask = torch.zeros(1, 1, length, length).masked_fill(blocked, torch.finfo(torch.float32).min)
        output = layer(hidden, **(arguments | {"attention_mask": mask, "past_key_values": None}))
        if index in plan.frozen_layers:
            output[0, visual] = hidden[0, visual]
        hidden = output
    return parts.head(parts.norm(hidden))[0]


def generate_by_recomputation(
    model: PreTrainedModel, inputs: Mapping[str, Any], plan: Plan, kept: Mapping[int, torch.Tensor], steps: int
) -> list[int]:
    """Greedy ids, the whole sequence run again for each of them, without any cache."""
    grown = dict(inputs)
    ids = []
    for _ in range(steps):
        ids.append(int(masked_logits(model, grown, plan, kept)[-1].argmax()))
        for name, value in {"input_ids": ids[-1], "attention_mask": 1, "mm_token_type_ids": 0}.items():
            if name in grown:
                tail = torch.tensor([[value]], dtype=grown[name].dtype)
                grown[name] = torch.cat([grown[name], tail], dim=1)
    return ids
