"""Attention masks of a part of the tokens, cut out of the masks that the model made for all of them."""

import torch

from halfv_core.held import Held
from halfv_core.slots import Slots


def cut_mask(
    full: torch.Tensor | None, slots: Slots, held: Held | None, past: int, dtype: torch.dtype
) -> torch.Tensor | None:
    """The mask of a layer call for the tokens in `slots`, over the keys that the layer's cache holds and their own.

    Args:
        full: the model's mask over the whole sequence, (B or 1, 1, q, past + q), bool (true: visible) or additive; None
            where plain causality says it all.
        held: what the layers' caches hold, None for all `past` tokens before this turn.
        past: tokens of the sequence before this turn.
        dtype: of an additive mask, where one has to be made.

    Returns:
        (B, 1, n, m), of the kind of `full`; None where plain causality still says it all.
    """
    held_ghosts = held is not None and held.has_ghosts
    if full is None and not held_ghosts and not slots.has_ghosts:
        # Without a mask the kernel is causal for a whole prompt, and lets a single query see everything.
        if past == 0 or slots.count == 1:
            return None
    keys, living = _keys(slots, held, past)
    if full is None:
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


def _keys(slots: Slots, held: Held | None, past: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions and livingness of all keys, those in the cache first, (B, m) each."""
    if held is not None:
        positions, living = held.keys(past)
    else:
        positions = torch.arange(past, device=slots.positions.device).expand(slots.rows, past)
        living = torch.ones_like(positions, dtype=torch.bool)
    return torch.cat([positions, slots.positions], 1), torch.cat([living, slots.living], 1)
