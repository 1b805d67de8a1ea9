"""One layer with its visual tokens frozen: text rows alone go through it, visual rows are keys and values.

The rule of ShortV (arXiv 2504.00502): the layer's own update is left out for visual tokens, so its queries, output
projection and MLP run for the text tokens only. In a batch every row needs as many queries as the row with most text; a
row with less sends some of its visual tokens along, whose keys and values come out the same, and whose output is thrown
away. Features of the vision tower that a model adds to visual tokens after the layer (`Family.deepstack`) are no part
of its update, and are added as ever.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from transformers import Cache

from halfv_core.families.base import Parts
from halfv_core.runtime.attention import keys_and_values
from halfv_core.runtime.layer_input import LayerInput, arguments_for, pick
from halfv_core.runtime.patching import attending_by
from halfv_core.runtime.token_slots import first_true, others


class FrozenRows:
    """Stands in for the cache during one layer call: puts frozen keys and values among those of the text."""

    def __init__(
        self, cache: Cache | None, active: torch.Tensor, idle: torch.Tensor, frozen: tuple[torch.Tensor, ...]
    ) -> None:
        self._cache = cache
        self._active = active
        self._idle = idle
        self._frozen = frozen

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer_index: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Take the active tokens' (B, kv_heads, t, head_dim), store and return all n tokens' in the prompt's order."""
        merged = [self._merge(*pair) for pair in zip((keys, values), self._frozen, strict=True)]
        if self._cache is None:
            return merged[0], merged[1]
        return self._cache.update(merged[0], merged[1], layer_index, *args, **kwargs)

    def _merge(self, active: torch.Tensor, idle: torch.Tensor) -> torch.Tensor:
        rows = active.new_empty(*active.shape[:2], active.shape[2] + idle.shape[2], active.shape[3])
        for where, values in ((self._active, active), (self._idle, idle)):
            rows.scatter_(2, where[:, None, :, None].expand_as(values), values)
        return rows


def run_frozen(
    parts: Parts, index: int, forward: Callable[..., torch.Tensor], step: LayerInput, arguments: Mapping[str, Any]
) -> torch.Tensor:
    """Call decoder layer `index` on the text tokens of `step`.

    Args:
        forward: the layer's own forward.
        arguments: keyword arguments of the call for the whole turn, with the real cache or None.

    Returns:
        (B, n, D): text tokens updated, visual ones as they came.
    """
    if parts.flash:  # takes no mask of which query sees which key; the queries are few, so sdpa is as good
        with attending_by(parts.layers[index].self_attn, "sdpa"):
            return _run(parts, index, forward, step, arguments)
    return _run(parts, index, forward, step, arguments)


def _run(
    parts: Parts, index: int, forward: Callable[..., torch.Tensor], step: LayerInput, arguments: Mapping[str, Any]
) -> torch.Tensor:
    slots = step.slots
    if min(slots.visual_counts) == 0:  # the row without visual tokens needs all its queries, so nothing can be left out
        output = forward(step.hidden, **step.call_arguments(arguments))
        return torch.where(slots.visual[..., None], step.hidden, output)
    active = first_true(~slots.visual, slots.count - min(slots.visual_counts))  # (B, t)
    idle = others(active, slots.count)  # (B, n - t)
    frozen = keys_and_values(parts, parts.layers[index], step, idle)
    positions = slots.positions.gather(1, active)
    call = arguments_for(arguments, positions - step.past) | {
        "attention_mask": _query_rows(step, active),
        "position_embeddings": (pick(step.cos, active), pick(step.sin, active)),
        "past_key_values": FrozenRows(arguments.get("past_key_values"), active, idle, frozen),
    }
    updated = forward(pick(step.hidden, active), **call)  # (B, t, D)
    output = step.hidden.scatter(1, active[..., None].expand_as(updated), updated)
    return torch.where(slots.visual[..., None], step.hidden, output)


def _query_rows(step: LayerInput, active: torch.Tensor) -> torch.Tensor:
    """(B, 1, t, m) rows of the step's mask; of plain causality, an additive mask that says the same."""
    if step.mask is None:
        slots = torch.arange(step.slots.count, device=active.device)
        hidden = slots[None, None, :] > active[:, :, None]  # (B, t, n)
        mask = torch.zeros(hidden.shape, dtype=step.hidden.dtype, device=active.device)
        return mask.masked_fill(hidden, torch.finfo(mask.dtype).min)[:, None]
    whole = step.mask.expand(step.slots.rows, *step.mask.shape[1:])
    return whole.gather(2, active[:, None, :, None].expand(-1, whole.shape[1], -1, whole.shape[3]))
