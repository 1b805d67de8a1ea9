"""What the runtime computes with a layer's own attention weights: keys and values of frozen tokens, and scores.

Where a layer is known to be plain (`Parts.is_plain`), its norm and projections are called here, for no more than is
needed; other layers make their queries and keys themselves (own_run.py). Scores are made as sdpa makes them: queries
and keys in the model's dtype, everything after them in float32.
"""

import copy
from typing import Any, cast

import torch

from halfv_core.families.base import Parts
from halfv_core.placement import parts_callable, weights_in_memory
from halfv_core.precision import is_matrix, no_autocast, rows_of, widened, widened_norm
from halfv_core.runtime.layer_input import LayerInput
from halfv_core.runtime.own_run import heads_of
from halfv_core.runtime.rotary_tables import RotaryTables, of_tokens, turning_nothing
from halfv_core.runtime.token_slots import gather_tokens
from halfv_core.selectors.base import Scoring


def keys_and_values(
    parts: Parts, layer: Any, hidden: torch.Tensor, rotary: RotaryTables
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a plain layer would put into its cache for some of its tokens.

    Args:
        parts: of the model.
        layer: the decoder layer.
        hidden: (B, r, D), the tokens as they enter it.
        rotary: rotary cosines and sines at their positions, (B or 1, r, head_dim) each.

    Returns:
        Keys, rotated to their positions, and values, (B, kv_heads, r, head_dim) each.
    """
    normed = layer.input_layernorm(hidden)
    keys = rotate(parts, project(layer.self_attn, "k", normed), rotary)
    return keys, project(layer.self_attn, "v", normed)


def attention_scores(parts: Parts, layer: Any, layer_input: LayerInput, scoring: Scoring, rope: bool) -> torch.Tensor:
    """How much each row's last token attends to its tokens in this layer, averaged over heads.

    `attention` is softmax(q k / sqrt(head_dim)) over all keys of this prefill that the query sees. `release` is the
    rule of HalfV's public code: unscaled, softmax over the visual keys only.

    Args:
        parts: of the model.
        layer: the decoder layer.
        layer_input: its input, of n token slots in each of B rows.
        scoring: `attention` or `release`.
        rope: whether queries and keys are rotated to their positions first.

    Returns:
        (B, n) float32, 0 at slots that take no part; NaN in a row without visual tokens under `release`.
    """
    last = layer_input.last_slots()  # (B, 1)
    if parts.is_plain:
        with parts_callable(layer):
            logits, scaling = _plain_logits(parts, layer, layer_input, last, rope)
    else:
        logits, scaling = _own_logits(parts, layer, layer_input, last, rope)
    if scoring == "release":
        seen = layer_input.slots.visual
    else:
        logits, seen = logits * scaling, _visible_to(layer_input, last)
    weights = logits.masked_fill(~seen[:, None, None], -torch.inf).softmax(-1)
    return parts.ranks.mean_over_heads(weights)


def _own_logits(
    parts: Parts, layer: Any, layer_input: LayerInput, last: torch.Tensor, rope: bool
) -> tuple[torch.Tensor, float]:
    """As `_plain_logits`, by running the layer itself."""
    arguments = layer_input.tables.arguments(layer_input.arguments)
    if not rope and "position_embeddings" in arguments:
        arguments["position_embeddings"] = turning_nothing(arguments["position_embeddings"])
    heads = heads_of(parts, layer, layer_input.hidden, arguments)
    where = last[:, None, :, None].expand(-1, heads.queries.shape[1], -1, heads.queries.shape[3])
    query, keys = widened(heads.queries.gather(2, where)), widened(heads.keys)
    with no_autocast(query.device):
        return (_by_key_head(query, keys.shape[1]) @ keys.mT).float(), heads.scaling


def _plain_logits(
    parts: Parts, layer: Any, layer_input: LayerInput, last: torch.Tensor, rope: bool
) -> tuple[torch.Tensor, float]:
    """Products of the queries in slots `last`, (B, 1), with all keys, (B, H_kv, H / H_kv, n), and their scaling."""
    attention, hidden = layer.self_attn, layer_input.hidden
    normed_last = layer.input_layernorm(gather_tokens(hidden, last))
    query = widened(project(attention, "q", normed_last))  # (B, H, 1, d)
    logits = None if rope else _logits_without_keys(layer, query, hidden)  # (B, H_kv, H / H_kv, n)
    if logits is None:
        if not rope and _keys_are_adapted(attention, hidden.device):
            keys = _keys_without_bias(attention, widened_norm(layer.input_layernorm, hidden))  # (B, H_kv, n, d)
        else:
            keys = widened(project(attention, "k", layer.input_layernorm(hidden)))
        if rope:
            rotary = layer_input.tables.rotary
            query = rotate(parts, query, of_tokens(rotary, last))
            keys = rotate(parts, keys, rotary)
        with no_autocast(query.device):
            logits = (_by_key_head(query, keys.shape[1]) @ keys.transpose(2, 3)).float()
    return logits, attention.scaling


def project(attention: Any, projection: str, normed: torch.Tensor) -> torch.Tensor:
    """(B, n, D) -> (B, heads, n, head_dim) by the named projection, with the family's per-head norm if it has one."""
    states: torch.Tensor = getattr(attention, f"{projection}_proj")(normed)
    states = states.view(*normed.shape[:-1], -1, attention.head_dim)
    norm = getattr(attention, f"{projection}_norm", None)
    return (states if norm is None else norm(states)).transpose(1, 2)


def rotate(parts: Parts, states: torch.Tensor, rotary: RotaryTables) -> torch.Tensor:
    """Rotate (B, heads, k, head_dim) queries or keys to the positions of the tables (B or 1, k, head_dim)."""
    none = states[:, :0]  # the families' functions take queries and keys, and rotate both
    assert parts.rotary is not None, "of plain layers"
    rotated: torch.Tensor = parts.rotary(none, states, *cast(tuple[torch.Tensor, ...], rotary))[1]
    return rotated


def _by_key_head(query: torch.Tensor, kv_heads: int) -> torch.Tensor:
    """(B, H, 1, d) -> (B, H_kv, H / H_kv, d): queries grouped by the key head that they share."""
    return query.view(len(query), kv_heads, -1, query.shape[-1])


def _key_matrix(attention: Any, query: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor | None:
    """(H_kv, d, D): keys are this matrix times the states, and perhaps a bias. None if they are not."""
    weight = rows_of(attention.k_proj, hidden.device)
    if weight is None or hasattr(attention, "k_norm"):
        return None
    shape = (query.shape[1] // attention.num_key_value_groups, query.shape[-1], hidden.shape[-1])
    return weight.view(shape) if weight.shape == (shape[0] * shape[1], shape[2]) else None


def _logits_without_keys(layer: Any, query: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor | None:
    """q W x, computed as (q W) x: one vector for each head instead of keys for all tokens.

    This takes head_dim times less work than making the keys. A bias b would add q b to the logits of all keys alike,
    which a softmax does not notice, and if it is large, as Qwen2's are, the digits that tell keys apart would be lost.

    Args:
        layer: the decoder layer.
        query: (B, H, 1, d).
        hidden: (B, n, D), the layer's input.

    Returns:
        (B, H_kv, H / H_kv, n) float32, up to a constant for each head; None if keys are not a matrix times the states.
    """
    project = layer.self_attn.k_proj
    with weights_in_memory(project):
        matrix = _key_matrix(layer.self_attn, query, hidden)
        if matrix is None:
            return None
        normed = widened_norm(layer.input_layernorm, hidden)
        rows, heads, (kv_heads, head_dim, width) = len(query), query.shape[1], matrix.shape
        # One product for all rows: a batched one would copy the weight for each of them.
        by_head = _by_key_head(query, kv_heads).transpose(0, 1).reshape(kv_heads, -1, head_dim)
        with no_autocast(query.device):
            through = (by_head @ widened(matrix)).view(kv_heads, rows, -1, width)  # (H_kv, B, H / H_kv, D)
            logits = through.transpose(0, 1).reshape(rows, heads, -1) @ normed.mT  # (B, H, n)
    return logits.float().view(rows, kv_heads, -1, normed.shape[1])


def _keys_are_adapted(attention: Any, device: torch.device) -> bool:
    """Whether keys are those of a matrix that a PEFT adapter changes, with no norm after it."""
    project = attention.k_proj
    if not is_matrix(getattr(project, "base_layer", project), device) or hasattr(attention, "k_norm"):
        return False
    return not any(hasattr(part, "_hf_hook") for part in project.modules())  # which cannot be copied


def _keys_without_bias(attention: Any, normed: torch.Tensor) -> torch.Tensor:
    """Keys (B, H_kv, n, d) of (B, n, D) without what they all have in common, which would cost them digits.

    An adapter adds to the states or scales them, so in float32 this is the difference to the keys of zeros.
    """
    project = copy.deepcopy(attention.k_proj).to(normed.dtype).eval()
    with no_autocast(normed.device):
        keys: torch.Tensor = project(normed) - project(torch.zeros_like(normed[:, :1]))
    return keys.view(*normed.shape[:2], -1, attention.head_dim).transpose(1, 2)


def _visible_to(layer_input: LayerInput, last: torch.Tensor) -> torch.Tensor:
    """(B, n) bool: the tokens of this prefill that the token in slot `last` (B, 1) of its row sees."""
    slots, mask = layer_input.slots, layer_input.tables.mask
    visible = slots.real & (torch.arange(slots.length, device=last.device) <= last)
    if mask is None or mask.ndim == 2:  # the kernel is causal, and padding is not among the real slots
        return visible
    own = mask[:, 0, :, -slots.length :].expand(slots.rows, -1, -1)  # (B, n, n)
    row = own.gather(1, last[..., None].expand(-1, -1, slots.length)).squeeze(1)  # (B, n)
    return visible & (row if row.dtype == torch.bool else row > torch.finfo(row.dtype).min / 2)
