"""Attention masks of a part of the tokens, cut out of the masks that the model made for all of them.

Kernels want one of two kinds: a whole mask (eager, sdpa), queries by keys, or the padding alone (FlashAttention), where
causality is understood.
"""

import torch

from halfv_core.runtime.cached_tokens import CachedTokens
from halfv_core.runtime.token_slots import TokenSlots


def cut_mask(
    full: torch.Tensor | None, slots: TokenSlots, held: CachedTokens | None, past: int, dtype: torch.dtype
) -> torch.Tensor | None:
    """The mask of a layer call for the tokens in `slots`, over the keys that the layer's cache holds and their own.

    Args:
        full: the model's mask over the whole sequence, (B or 1, 1, q, past + q), bool (true: visible) or additive; or
            its padding mask (B, past + q), true at real tokens; None where plain causality says it all.
        held: what the layers' caches hold, None for all `past` tokens before this turn.
        past: tokens of the sequence before this turn.
        dtype: of an additive mask, where one has to be made.

    Returns:
        (B, 1, n, m), of the kind of a whole `full`, else additive; None where plain causality still says it all.
    """
    held_ghosts = held is not None and held.has_ghosts
    if full is None and not held_ghosts and not slots.has_ghosts:
        # Without a mask the kernel is causal for a whole prompt, and lets a single query see everything.
        if past == 0 or slots.count == 1:
            return None
    keys, living = _keys(slots, held, past)
    if full is None or full.ndim == 2:
        living = living if full is None else living & full.bool().gather(1, keys)
        hidden = keys[:, None, :] > slots.positions[:, :, None]  # (B, n, m)
        hidden = hidden | ~living[:, None, :]
        mask = torch.zeros(hidden.shape, dtype=dtype, device=keys.device)
        return mask.masked_fill(hidden, torch.finfo(dtype).min)[:, None]
    whole = full.expand(slots.rows, *full.shape[1:])
    queries = (slots.positions - past)[:, None, :, None].expand(-1, full.shape[1], -1, full.shape[3])
    mask = whole.gather(2, queries)  # (B, 1, n, past + q)
    mask = mask.gather(3, keys[:, None, None, :].expand(-1, full.shape[1], slots.count, -1))
    if not (held_ghosts or slots.has_ghosts):
        return mask
    if mask.dtype != torch.bool:
        return mask.masked_fill(~living[:, None, None, :], torch.finfo(mask.dtype).min)
    # A query that may look at nothing gives NaN in some kernels; a ghost's result is thrown away, so it may look.
    return (mask & living[:, None, None, :]) | ~slots.living[:, None, :, None]


def cut_padding(
    full: torch.Tensor | None, slots: TokenSlots, held: CachedTokens | None, past: int
) -> torch.Tensor | None:
    """The padding mask of a layer call for the tokens in `slots`, as FlashAttention takes it: what must not be seen.

    Args:
        full, held, past: as in `cut_mask`; `full` is a padding mask or None.

    Returns:
        (B, m) bool; None where every key is real and alive.
    """
    if full is None and not slots.has_ghosts and (held is None or not held.has_ghosts):
        return None
    keys, living = _keys(slots, held, past)
    return living if full is None else living & full.bool().gather(1, keys)


def text_mask(
    full: torch.Tensor | None, held: CachedTokens, past: int, length: int, like: torch.Tensor
) -> torch.Tensor:
    """The mask of a layer call for new tokens that are all text: their queries are whole, and only keys are cut.

    Args:
        full: as in `cut_mask`.
        held: what the layer's cache held after the latest turn with visual tokens.
        past, length: tokens of the sequence before and after the new ones.
        like: on the device, and of the dtype of an additive mask where one has to be made.

    Returns:
        (B, 1, q, m).
    """
    positions, living = held.positions.to(like.device), held.living.to(like.device)
    rows = len(positions)
    if full is None:
        visible = torch.ones(rows, 1, length - past, length, dtype=torch.bool, device=like.device).tril(past)
        full = torch.zeros(visible.shape, dtype=like.dtype, device=like.device)
        full = full.masked_fill(~visible, torch.finfo(like.dtype).min)
    full = full.to(like.device).expand(rows, *full.shape[1:])
    early = full.gather(3, positions[:, None, None].expand(-1, full.shape[1], full.shape[2], -1))
    if held.has_ghosts:
        dead = ~living[:, None, None]
        early = early & ~dead if full.dtype == torch.bool else early.masked_fill(dead, torch.finfo(full.dtype).min)
    return torch.cat([early, full[..., held.tail :]], 3)


def text_padding(full: torch.Tensor | None, held: CachedTokens, length: int, device: torch.device) -> torch.Tensor:
    """The padding mask of the same call, (B, m) bool; arguments as in `text_mask`."""
    positions, living = held.positions.to(device), held.living.to(device)
    full = torch.ones(len(positions), length, device=device) if full is None else full.to(device)
    return torch.cat([full.bool().gather(1, positions) & living, full[:, held.tail :].bool()], 1)


def _keys(slots: TokenSlots, held: CachedTokens | None, past: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions and livingness of all keys, those in the cache first, (B, m) each."""
    if held is not None:
        positions, living = held.keys(past)
    else:
        positions = torch.arange(past, device=slots.positions.device).expand(slots.rows, past)
        living = torch.ones_like(positions, dtype=torch.bool)
    return torch.cat([positions, slots.positions], 1), torch.cat([living, slots.living], 1)
