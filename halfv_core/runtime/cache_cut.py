"""Taking tokens out of the caches of layers that they have gone through."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Cache

from halfv_core.runtime.run_record import RunRecord
from halfv_core.runtime.static_cache import is_static, select_static_entries
from halfv_core.runtime.token_slots import TokenSlots


def cut_caches(
    cache: Cache | None, by_layer: Sequence[TokenSlots], cut: torch.Tensor, past: int, record: RunRecord
) -> list[TokenSlots]:
    """Take tokens of a prefill out of all caches; waits for the device.

    Args:
        cache: the batch's KV cache, to which the prefill has added its tokens; None if there is none.
        by_layer: the tokens that went through each layer.
        cut: (B, q) bool, true at the new tokens that leave the caches.
        past: tokens of the sequence before the prefill.
        record: is told how many these are in each layer.

    Returns:
        For each layer, what the prefill has left in its cache.
    """
    made: dict[int, tuple[TokenSlots, torch.Tensor, tuple[int, ...]]] = {}
    held = []
    for index, slots in enumerate(by_layer):
        if id(slots) not in made:
            gone = cut.to(slots.positions.device).gather(1, slots.positions - past) & slots.real
            counts = tuple(gone.sum(1).tolist())
            made[id(slots)] = (*slots.without(gone, counts), counts)
        left, remaining, counts = made[id(slots)]
        if any(counts):
            record.take_out(index, counts)
            _select_entries(cache, index, remaining, slots.length)
        held.append(left if any(counts) else slots)
    return held


def _select_entries(cache: Cache | None, index: int, remaining: torch.Tensor, added: int) -> None:
    """Of the entries that a prefill has just added to a layer's cache, keep those in slots `remaining`, (B, n')."""
    if cache is None:
        return
    layer: Any = cache.layers[index]
    if is_static(cache):
        select_static_entries(layer, remaining, added)
        return
    for name in ("keys", "values"):
        entries = getattr(layer, name)  # (B, H_kv, m, d)
        earlier, new = entries[:, :, :-added], entries[:, :, -added:]
        where = remaining.to(entries.device)[:, None, :, None].expand(-1, entries.shape[1], -1, entries.shape[3])
        setattr(layer, name, torch.cat([earlier, new.gather(2, where)], 2))
    if isinstance(getattr(layer, "cumulative_length", None), int):  # of layers with a sliding window
        layer.cumulative_length -= added - remaining.shape[1]
