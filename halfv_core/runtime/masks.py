"""Attention masks for some of the tokens, gathered from the masks that the model made for all of them.

Attention kernels take one of two kinds: a mask of queries by keys (eager, sdpa), or a padding mask alone
(FlashAttention), which leaves causality to the kernel.
"""

from typing import Any

import torch
from transformers import Cache

from halfv_core.runtime.cached_tokens import CachedTokens
from halfv_core.runtime.static_cache import is_static
from halfv_core.runtime.token_slots import TokenSlots


def held_entries(cache: Cache | None, index: int) -> int | None:
    """Entries that a layer's cache still holds of those that it was given; None unless it drops those out of a window.

    A layer with a sliding window keeps the latest ones only, counted after the pruning. They reach as far back as the
    window or further, because the window is counted in positions, and tokens keep theirs.
    """
    layers = getattr(cache, "layers", ())
    layer: Any = layers[index] if index < len(layers) else None
    if not getattr(layer, "is_sliding", False) or is_static(cache):
        return None
    return int(layer.keys.shape[2]) if layer.is_initialized else 0


def prefill_mask(
    full: torch.Tensor | None,
    slots: TokenSlots,
    cached: CachedTokens | None,
    past: int,
    dtype: torch.dtype,
    held: int | None = None,
) -> torch.Tensor | None:
    """The mask of a layer call for the tokens in `slots`; its keys are the layer's cache entries and these tokens.

    Args:
        full: the model's mask over the sequence or its end, (B or 1, 1, q, past + q or fewer), bool (true: visible) or
            additive; or its padding mask (B, past + q), true at real tokens; None for plain causality.
        slots: n token slots in each row.
        cached: what the layer's cache holds, None for all `past` tokens before this prefill.
        past: tokens of the sequence before this prefill.
        dtype: dtype of the additive mask, if one has to be made.
        held: see `held_entries`.

    Returns:
        (B, 1, n, m), bool or additive as `full` is if that is a mask of queries by keys, else additive; None if plain
        causality still describes it.
    """
    has_padding = slots.has_padding or (cached is not None and cached.has_padding)
    if full is None and not has_padding:
        # Without a mask the kernel is causal for a whole prompt, and lets a single query see everything.
        if past == 0 or slots.length == 1:
            return None
    keys, real = _keys(slots, cached, past, held)
    if full is None or full.ndim == 2:
        real = real if full is None else real & full.bool().gather(1, keys)
        blocked = keys[:, None, :] > slots.positions[:, :, None]  # (B, n, m)
        blocked = blocked | ~real[:, None, :]
        mask = torch.zeros(blocked.shape, dtype=dtype, device=keys.device)
        return mask.masked_fill(blocked, torch.finfo(dtype).min)[:, None]
    whole = full.expand(slots.rows, *full.shape[1:])
    queries = (slots.positions - past)[:, None, :, None].expand(-1, full.shape[1], -1, full.shape[3])
    mask = whole.gather(2, queries)  # (B, 1, n, past + q)
    columns = keys - (past + full.shape[2] - full.shape[3])
    mask = mask.gather(3, columns[:, None, None, :].expand(-1, full.shape[1], slots.length, -1))
    if not has_padding:
        return mask
    if mask.dtype != torch.bool:
        return mask.masked_fill(~real[:, None, None, :], torch.finfo(mask.dtype).min)
    # A query that sees no key gives NaN in some kernels; the output of a padding slot is discarded, so it may see any.
    return (mask & real[:, None, None, :]) | ~slots.real[:, None, :, None]


def prefill_padding_mask(
    full: torch.Tensor | None, slots: TokenSlots, cached: CachedTokens | None, past: int
) -> torch.Tensor | None:
    """The padding mask of the same call, as FlashAttention takes it.

    Args:
        full: the model's padding mask (B, past + q), true at real tokens; None if all are real.
        slots: as in `prefill_mask`.
        cached: as in `prefill_mask`.
        past: as in `prefill_mask`.

    Returns:
        (B, m) bool, true at real keys; None if every key is real.
    """
    if full is None and not slots.has_padding and (cached is None or not cached.has_padding):
        return None
    keys, real = _keys(slots, cached, past)
    return real if full is None else real & full.bool().gather(1, keys)


def decode_mask(
    full: torch.Tensor | None,
    cached: CachedTokens | None,
    past: int,
    length: int,
    like: torch.Tensor,
    held: int | None = None,
) -> torch.Tensor:
    """The mask of a layer call for new text tokens: all of them are queries, but fewer keys are in the cache.

    Args:
        full: the model's mask over the whole sequence, for the q = length - past new tokens; as in `prefill_mask`.
        cached: what the layer's cache held after the latest prefill; None for the whole sequence.
        past: tokens of the sequence before the new ones.
        length: tokens of the sequence with the new ones.
        like: a tensor on the wanted device and of the wanted dtype, should an additive mask have to be made.
        held: see `held_entries`.

    Returns:
        (B, 1, q, m).
    """
    rows = len(like)
    positions, real = (entry.to(like.device) for entry in _entries(cached, past, rows, like.device, held))
    if full is None:
        visible = torch.ones(rows, 1, length - past, length, dtype=torch.bool, device=like.device).tril(past)
        full = torch.zeros(visible.shape, dtype=like.dtype, device=like.device)
        full = full.masked_fill(~visible, torch.finfo(like.dtype).min)
    full = full.to(like.device).expand(rows, *full.shape[1:])
    prefix = full.gather(3, positions[:, None, None].expand(-1, full.shape[1], full.shape[2], -1))
    if cached is not None and cached.has_padding:
        padding = ~real[:, None, None]
        if full.dtype == torch.bool:
            prefix = prefix & ~padding
        else:
            prefix = prefix.masked_fill(padding, torch.finfo(full.dtype).min)
    return torch.cat([prefix, full[..., past:]], 3)


def decode_padding_mask(
    full: torch.Tensor | None, cached: CachedTokens, length: int, device: torch.device
) -> torch.Tensor:
    """The padding mask of the same call, as FlashAttention takes it.

    Args:
        full: the model's padding mask (B, length), true at real tokens; None if all are real.
        cached: as in `decode_mask`.
        length: as in `decode_mask`.
        device: where the result is wanted.

    Returns:
        (B, m) bool, true at real keys.
    """
    positions, real = cached.positions.to(device), cached.real.to(device)
    full = torch.ones(len(positions), length, device=device) if full is None else full.to(device)
    return torch.cat([full.bool().gather(1, positions) & real, full[:, cached.suffix_start :].bool()], 1)


def _keys(
    slots: TokenSlots, cached: CachedTokens | None, past: int, held: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions of all keys, cache entries first, and which of them are real; (B, m) each."""
    positions, real = _entries(cached, past, slots.rows, slots.positions.device, held)
    return torch.cat([positions, slots.positions], 1), torch.cat([real, slots.real], 1)


def _entries(
    cached: CachedTokens | None, past: int, rows: int, device: torch.device, held: int | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions of the cache entries, and which of them are real; (B, held) each."""
    if cached is not None:
        positions, real = cached.entries(past)
    else:
        positions = torch.arange(past, device=device).expand(rows, past)
        real = torch.ones_like(positions, dtype=torch.bool)
    first = 0 if held is None else positions.shape[1] - held
    return positions[:, first:], real[:, first:]
