"""What the runtime computes with a layer's own attention weights: keys and values of frozen tokens, and scores.

Both use the layer's own norm and projections, so they are exact for every family whose attention consists of q, k, v
and o projections, with optional per-head norms on queries and keys. Scores are made as sdpa makes them: queries and
keys in the model's dtype, everything after them in float32.
"""

from typing import Any

import torch

from halfv_core.families.base import Parts
from halfv_core.precision import no_autocast, rows_of, widened, widened_norm
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
    query = widened(_project(attention, "q", layer.input_layernorm(gather_tokens(one.hidden, last))))  # (1, H, 1, d)
    hidden = gather_tokens(one.hidden, indices)  # (1, r, D)
    logits: torch.Tensor  # (H_kv, H / H_kv, r)
    matrix = None if rope else _key_matrix(attention, query, hidden)
    if matrix is not None:
        logits = _logits_without_keys(matrix, query, widened_norm(layer.input_layernorm, hidden)[0])
    else:
        keys = widened(_project(attention, "k", layer.input_layernorm(hidden)))  # (1, H_kv, r, d)
        if rope:
            query, keys = _rotate(parts, query, one, last), _rotate(parts, keys, one, indices)
        with no_autocast(query.device):
            logits = (_by_key_head(query, keys.shape[1]) @ keys[0].transpose(1, 2)).float()
    if scoring == "release":
        return parts.ranks.mean_over_heads(logits.softmax(-1))
    logits = (logits * attention.scaling).masked_fill(~_visible_to(one, last), -torch.inf)
    return parts.ranks.mean_over_heads(logits.softmax(-1)).index_select(0, visual[0])


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


def _key_matrix(attention: Any, query: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor | None:
    """(H_kv, d, D): keys are this matrix times the states, and perhaps a bias. None if they are not."""
    weight = rows_of(attention.k_proj, hidden.device)
    if weight is None or hasattr(attention, "k_norm"):
        return None
    shape = (query.shape[1] // attention.num_key_value_groups, query.shape[-1], hidden.shape[-1])
    return weight.view(shape) if weight.shape == (shape[0] * shape[1], shape[2]) else None


def _logits_without_keys(matrix: torch.Tensor, query: torch.Tensor, normed: torch.Tensor) -> torch.Tensor:
    """q W x, computed as (q W) x: one vector for each head instead of keys for all tokens.

    This takes head_dim times less work than making the keys. A bias b would add q b to the logits of all keys alike,
    which a softmax does not notice, and if it is large, as Qwen2's are, the digits that tell keys apart would be lost.

    Args:
        matrix: (H_kv, d, D).
        query: (1, H, 1, d).
        normed: (r, D).

    Returns:
        (H_kv, H / H_kv, r) float32; up to a constant for each head.
    """
    with no_autocast(query.device):
        return (_by_key_head(query, len(matrix)) @ widened(matrix) @ normed.T).float()


def _visible_to(one: LayerInput, last: torch.Tensor) -> torch.Tensor:
    """(n,) bool: the tokens of this prefill that the token in slot `last` (1, 1) of a single row sees."""
    visible = one.slots.real[0] & (torch.arange(one.slots.length, device=last.device) <= last[0])
    if one.mask is None or one.mask.ndim == 2:  # the kernel is causal, and padding is not among the real slots
        return visible
    mask = one.mask[0, 0, :, -one.slots.length :].index_select(0, last[0])[0]  # (n,)
    return visible & (mask if mask.dtype == torch.bool else mask > torch.finfo(mask.dtype).min / 2)
