"""FrozenSplit: the two parts into which a frozen layer divides its tokens, those that go through it and the others."""

from dataclasses import dataclass
from typing import NamedTuple

import torch

from halfv_core.runtime.rotary_tables import RotaryTables, of_tokens
from halfv_core.runtime.token_slots import TokenSlots, complement, true_indices


class FrozenTokens(NamedTuple):
    """The tokens of a batch that are keys and values only."""

    mask: torch.Tensor
    """(B, n) bool: the slot holds one."""
    counts: tuple[int, ...]
    """How many there are in each row."""


@dataclass(frozen=True)
class FrozenSplit:
    """Of n slots in each of B rows, t are active and go through the layer; the others are keys and values only.

    Every row needs as many queries as the row with the most other tokens. A row with fewer sends some of its frozen
    tokens along, whose keys and values come out the same and whose output is discarded.
    """

    active: torch.Tensor
    """(B, t) ascending slot indices."""
    frozen: torch.Tensor
    """(B, n - t) ascending slot indices."""
    order: torch.Tensor
    """(B, n): where each slot is when the active tokens come first and the frozen ones follow."""
    indices: torch.Tensor
    """(B, t) indices of the active tokens among the q tokens of the prefill."""
    mask: torch.Tensor
    """(B, 1, t, m), bool or additive: what the active tokens see."""
    frozen_indices: torch.Tensor
    """(B, n - t) likewise of the frozen tokens."""
    active_tables: RotaryTables
    """Rotary tables of the active tokens, (B, t, ...) each."""
    frozen_tables: RotaryTables
    """Likewise of the frozen tokens, (B, n - t, ...) each."""
    discarded: torch.Tensor | None
    """(B, t, 1) bool, true at active tokens that are frozen, whose output is discarded; None if there are none."""

    @classmethod
    def of(
        cls,
        slots: TokenSlots,
        tokens: FrozenTokens,
        rotary: RotaryTables,
        mask: torch.Tensor | None,
        past: int,
        dtype: torch.dtype,
    ) -> "FrozenSplit":
        """Divide the tokens; the tables are as in `LayerTables`, and every row has frozen tokens."""
        active = true_indices(~tokens.mask, slots.length - min(tokens.counts))  # (B, t)
        frozen = complement(active, slots.length)  # (B, n - t)
        is_ragged = len(set(tokens.counts)) > 1
        return cls(
            active=active,
            frozen=frozen,
            order=torch.cat([active, frozen], 1).argsort(1),
            indices=slots.positions.gather(1, active) - past,
            frozen_indices=slots.positions.gather(1, frozen) - past,
            mask=_mask_of_queries(mask, slots, active, dtype),
            active_tables=of_tokens(rotary, active),
            frozen_tables=of_tokens(rotary, frozen),
            discarded=tokens.mask.gather(1, active)[..., None] if is_ragged else None,
        )


def _mask_of_queries(
    mask: torch.Tensor | None, slots: TokenSlots, active: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """(B, 1, t, m) mask for the queries in slots `active` (B, t); additive if there is none for all tokens."""
    if mask is None:
        keys = torch.arange(slots.length, device=active.device)
        blocked = keys[None, None, :] > active[:, :, None]  # (B, t, n)
        additive = torch.zeros(blocked.shape, dtype=dtype, device=active.device)
        return additive.masked_fill(blocked, torch.finfo(dtype).min)[:, None]
    whole = mask.expand(slots.rows, *mask.shape[1:])
    return whole.gather(2, active[:, None, :, None].expand(-1, whole.shape[1], -1, whole.shape[3]))
