"""What the runtime computes with a layer's own attention weights: keys and values of frozen tokens, and scores.

Both use the layer's own norm and projections, so they are exact for every family whose attention consists of q, k, v
and o projections, with optional per-head norms on queries and keys.
"""

from typing import Any

import torch
from torch import nn

from halfv_core.families.base import Parts
from halfv_core.runtime.layer_input import LayerInput, gather_tokens
from halfv_core.selectors.base import Scoring


def keys_and_values(
    parts: Parts, layer: Any, layer_input: LayerInput, indices: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the layer would put into its cache for some of its tokens.

    Args:
        parts: of the model.
        layer: the decoder layer.
        layer_input: its input.
        indices: (B, r) slot indices of the tokens.

    Returns:
        Keys, rotated to their positions, and values, (B, kv_heads, r, head_dim) each.
    """
    normed = layer.input_layernorm(gather_tokens(layer_input.hidden, indices))
    keys = _rotate(parts, _project(layer.self_attn, "k", normed), layer_input, indices)
    return keys, _project(layer.self_attn, "v", normed)


def attention_scores(
    parts: Parts, layer: Any, layer_input: LayerInput, row: int, scoring: Scoring, rope: bool
) -> torch.Tensor:
    """How much a row's last token attends to each of its visual tokens in this layer, averaged over heads.

    `attention` is softmax(q k / sqrt(head_dim)) over all keys of this prefill that the query sees. `release` is the
    rule of HalfV's public code: unscaled, softmax over the visual keys only.

    Args:
        parts: of the model.
        layer: the decoder layer.
        layer_input: its input, of n token slots in each row.
        row: of the batch; V of its slots are visual.
        scoring: `attention` or `release`.
        rope: whether queries and keys are rotated to their positions first.

    Returns:
        (V,) float32.
    """
    attention, one = layer.self_attn, layer_input.row(row)
    visual = one.slots.visual_slots(0)[None]  # (1, V)
    indices = visual if scoring == "release" else torch.arange(one.slots.length, device=visual.device)[None]  # (1, r)
    last = one.last_slots()  # (1, 1)
    query = _project(attention, "q", layer.input_layernorm(gather_tokens(one.hidden, last)))  # (1, H, 1, d)
    normed: torch.Tensor = layer.input_layernorm(gather_tokens(one.hidden, indices))  # (1, r, D)
    logits: torch.Tensor  # (H_kv, H / H_kv, r)
    if not rope and _keys_are_linear(attention, normed.device):
        logits = _logits_without_keys(attention, query, normed[0])
    else:
        keys = _project(attention, "k", normed)  # (1, H_kv, r, d)
        if rope:
            query, keys = _rotate(parts, query, one, last), _rotate(parts, keys, one, indices)
        logits = (_by_key_head(query, keys.shape[1]) @ keys[0].transpose(1, 2)).float()
    if scoring == "release":
        return logits.softmax(-1).mean((0, 1))
    logits = (logits * attention.scaling).masked_fill(~_visible_to(one, last), -torch.inf)
    return logits.softmax(-1).mean((0, 1)).index_select(0, visual[0])


def _project(attention: Any, projection: str, normed: torch.Tensor) -> torch.Tensor:
    """(B, n, D) -> (B, heads, n, head_dim) by the named projection, with the family's per-head norm if it has one."""
    states: torch.Tensor = getattr(attention, f"{projection}_proj")(normed)
    states = states.view(*normed.shape[:-1], -1, attention.head_dim)
    norm = getattr(attention, f"{projection}_norm", None)
    return (states if norm is None else norm(states)).transpose(1, 2)


def _rotate(parts: Parts, states: torch.Tensor, layer_input: LayerInput, indices: torch.Tensor) -> torch.Tensor:
    """Rotate (B, heads, k, head_dim) queries or keys of the slots `indices` (B, k) to their positions."""
    cos, sin = gather_tokens(layer_input.cos, indices), gather_tokens(layer_input.sin, indices)
    return parts.rotary(states, states, cos, sin)[0]


def _by_key_head(query: torch.Tensor, kv_heads: int) -> torch.Tensor:
    """(1, H, 1, d) -> (H_kv, H / H_kv, d): queries grouped by the key head that they share."""
    return query.view(kv_heads, -1, query.shape[-1])


def _keys_are_linear(attention: Any, device: torch.device) -> bool:
    """Whether keys are a matrix times the states: no norm after it, no adapter, no quantised or offloaded weight."""
    project = attention.k_proj
    return type(project) is nn.Linear and project.weight.device == device and not hasattr(attention, "k_norm")


def _logits_without_keys(attention: Any, query: torch.Tensor, normed: torch.Tensor) -> torch.Tensor:
    """q (W x + b), computed as (q W) x + q b: one vector for each head instead of keys for all tokens.

    This takes head_dim times less work than making the keys.

    Args:
        attention: the attention module.
        query: (1, H, 1, d).
        normed: (r, D).

    Returns:
        (H_kv, H / H_kv, r) float32.
    """
    project, width = attention.k_proj, query.shape[-1]
    weight = project.weight.view(-1, width, project.in_features)  # (H_kv, d, D)
    grouped = _by_key_head(query, weight.shape[0])
    logits: torch.Tensor = (grouped @ weight @ normed.T).float()
    if project.bias is not None:
        logits += (grouped @ project.bias.view(-1, width, 1)).float()
    return logits


def _visible_to(one: LayerInput, last: torch.Tensor) -> torch.Tensor:
    """(n,) bool: the tokens of this prefill that the token in slot `last` (1, 1) of a single row sees."""
    visible = one.slots.real[0] & (torch.arange(one.slots.length, device=last.device) <= last[0])
    if one.mask is None or one.mask.ndim == 2:  # the kernel is causal, and padding is not among the real slots
        return visible
    mask = one.mask[0, 0, :, -one.slots.length :].index_select(0, last[0])[0]  # (n,)
    return visible & (mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2)
