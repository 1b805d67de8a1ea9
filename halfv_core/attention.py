"""The two readings of a layer's own attention that the runtime needs: keys and values of frozen rows, and scores.

Both use the layer's own norm and projections, so they are exact for every family whose attention is q, k, v, o with
optional per-head norms on queries and keys.
"""

from typing import Any

import torch

from halfv_core.families.base import Parts
from halfv_core.selectors.base import Scoring
from halfv_core.step import LayerStep


def _heads(attention: Any, projection: str, normed: torch.Tensor) -> torch.Tensor:
    """(1, n, D) -> (1, heads, n, head_dim) by the named projection, with the family's per-head norm if it has one."""
    states: torch.Tensor = getattr(attention, f"{projection}_proj")(normed)
    states = states.view(*normed.shape[:-1], -1, attention.head_dim)
    norm = getattr(attention, f"{projection}_norm", None)
    return (states if norm is None else norm(states)).transpose(1, 2)


def _rotate(parts: Parts, states: torch.Tensor, step: LayerStep, rows: torch.Tensor) -> torch.Tensor:
    cos, sin = step.cos.index_select(1, rows), step.sin.index_select(1, rows)
    return parts.rotary(states, states, cos, sin)[0]


def keys_and_values(parts: Parts, layer: Any, step: LayerStep, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What the layer would put in its cache for the tokens at the indices `rows` (r,).

    Returns:
        keys and values, (1, kv_heads, r, head_dim) each, keys with their rotary positions.
    """
    normed = layer.input_layernorm(step.hidden.index_select(1, rows))
    keys = _rotate(parts, _heads(layer.self_attn, "k", normed), step, rows)
    return keys, _heads(layer.self_attn, "v", normed)


def attention_scores(parts: Parts, layer: Any, step: LayerStep, scoring: Scoring, rope: bool) -> torch.Tensor:
    """How much the last prompt token attends to each visual token in this layer, mean over heads.

    `attention` is softmax(q k / sqrt(head_dim)) over all keys that the query sees. `release` is the public HalfV code's
    rule: not scaled, softmax over the visual keys only.

    Args:
        step: the layer's input, n tokens of which V visual.
        rope: whether queries and keys are rotated to their positions first.

    Returns:
        (V,) float32.
    """
    attention = layer.self_attn
    visual = step.visual_indices()
    rows = visual if scoring == "release" else torch.arange(len(step.positions), device=visual.device)
    last = torch.tensor([step.last], device=visual.device)
    query = _heads(attention, "q", layer.input_layernorm(step.hidden.index_select(1, last)))  # (1, H, 1, d)
    keys = _heads(attention, "k", layer.input_layernorm(step.hidden.index_select(1, rows)))  # (1, H_kv, r, d)
    if rope:
        query, keys = _rotate(parts, query, step, last), _rotate(parts, keys, step, rows)
    groups = query.view(keys.shape[1], -1, query.shape[-1])  # (H_kv, H / H_kv, d)
    logits: torch.Tensor = (groups @ keys[0].transpose(1, 2)).float()  # (H_kv, H / H_kv, r)
    if scoring == "release":
        return logits.softmax(-1).mean((0, 1))
    logits = logits * attention.scaling
    if step.mask is not None:
        visible = step.mask[0, 0, step.last]  # (n,)
        logits = logits.masked_fill(~visible, -torch.inf) if visible.dtype == torch.bool else logits + visible.float()
    return logits.softmax(-1).mean((0, 1)).index_select(0, visual)
