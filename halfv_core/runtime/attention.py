"""The two readings of a layer's own attention that the runtime needs: keys and values of frozen tokens, and scores.

Both use the layer's own norm and projections, so they are exact for every family whose attention is q, k, v, o with
optional per-head norms on queries and keys.
"""

from typing import Any

import torch
from torch import nn

from halfv_core.families.base import Parts
from halfv_core.runtime.layer_input import LayerInput, pick
from halfv_core.selectors.base import Scoring


def _heads(attention: Any, projection: str, normed: torch.Tensor) -> torch.Tensor:
    """(B, n, D) -> (B, heads, n, head_dim) by the named projection, with the family's per-head norm if it has one."""
    states: torch.Tensor = getattr(attention, f"{projection}_proj")(normed)
    states = states.view(*normed.shape[:-1], -1, attention.head_dim)
    norm = getattr(attention, f"{projection}_norm", None)
    return (states if norm is None else norm(states)).transpose(1, 2)


def _rotate(parts: Parts, states: torch.Tensor, step: LayerInput, slots: torch.Tensor) -> torch.Tensor:
    return parts.rotary(states, states, pick(step.cos, slots), pick(step.sin, slots))[0]


def keys_and_values(
    parts: Parts, layer: Any, step: LayerInput, slots: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the layer would put in its cache for the tokens in the slots (B, r).

    Returns:
        keys and values, (B, kv_heads, r, head_dim) each, keys with their rotary positions.
    """
    normed = layer.input_layernorm(pick(step.hidden, slots))
    keys = _rotate(parts, _heads(layer.self_attn, "k", normed), step, slots)
    return keys, _heads(layer.self_attn, "v", normed)


def attention_scores(
    parts: Parts, layer: Any, step: LayerInput, row: int, scoring: Scoring, rope: bool
) -> torch.Tensor:
    """How much a row's last token attends to each of its visual tokens in this layer, mean over heads.

    `attention` is softmax(q k / sqrt(head_dim)) over all keys of the turn that the query sees. `release` is the public
    HalfV code's rule: not scaled, softmax over the visual keys only.

    Args:
        step: the layer's input.
        row: of the batch; V of its n slots are visual.
        rope: whether queries and keys are rotated to their positions first.

    Returns:
        (V,) float32.
    """
    attention, one = layer.self_attn, step.row(row)
    visual = one.slots.visual_slots(0)[None]  # (1, V)
    slots = visual if scoring == "release" else torch.arange(one.slots.count, device=visual.device)[None]
    last = one.last()  # (1, 1)
    query = _heads(attention, "q", layer.input_layernorm(pick(one.hidden, last)))  # (1, H, 1, d)
    normed: torch.Tensor = layer.input_layernorm(pick(one.hidden, slots))  # (1, r, D)
    logits: torch.Tensor  # (H_kv, H / H_kv, r)
    if not rope and _keys_are_linear(attention, normed.device):
        logits = _logits_past_the_keys(attention, query, normed[0])
    else:
        keys = _heads(attention, "k", normed)  # (1, H_kv, r, d)
        if rope:
            query, keys = _rotate(parts, query, one, last), _rotate(parts, keys, one, slots)
        logits = (_groups(query, keys.shape[1]) @ keys[0].transpose(1, 2)).float()
    if scoring == "release":
        return logits.softmax(-1).mean((0, 1))
    logits = (logits * attention.scaling).masked_fill(~_visible(one, last), -torch.inf)
    return logits.softmax(-1).mean((0, 1)).index_select(0, visual[0])


def _groups(query: torch.Tensor, kv_heads: int) -> torch.Tensor:
    """(1, H, 1, d) -> (H_kv, H / H_kv, d): the queries that share a key."""
    return query.view(kv_heads, -1, query.shape[-1])


def _keys_are_linear(attention: Any, device: torch.device) -> bool:
    """Whether keys are a matrix times the states: no norm behind it, no adapter, no quantised or absent matrix."""
    project = attention.k_proj
    return type(project) is nn.Linear and project.weight.device == device and not hasattr(attention, "k_norm")


def _logits_past_the_keys(attention: Any, query: torch.Tensor, normed: torch.Tensor) -> torch.Tensor:
    """q (W x + b) as (q W) x + q b: one vector a head instead of the keys of all tokens, head_dim times less work.

    Args:
        query: (1, H, 1, d).
        normed: (r, D).

    Returns:
        (H_kv, H / H_kv, r) float32.
    """
    project, width = attention.k_proj, query.shape[-1]
    weight = project.weight.view(-1, width, project.in_features)  # (H_kv, d, D)
    groups = _groups(query, weight.shape[0])
    logits: torch.Tensor = (groups @ weight @ normed.T).float()
    if project.bias is not None:
        logits += (groups @ project.bias.view(-1, width, 1)).float()
    return logits


def _visible(one: LayerInput, last: torch.Tensor) -> torch.Tensor:
    """(n,) bool: tokens of the turn that the last one sees."""
    seen = one.slots.living[0] & (torch.arange(one.slots.count, device=last.device) <= last[0])
    if one.mask is None or one.mask.ndim == 2:  # causality is understood, and padding is not alive
        return seen
    visible = one.mask[0, 0, :, -one.slots.count :].index_select(0, last[0])[0]  # (n,)
    return seen & (visible if visible.dtype == torch.bool else visible > torch.finfo(visible.dtype).min / 2)
