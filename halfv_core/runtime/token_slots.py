"""TokenSlots: the tokens of each batch row that are still in the decoder, padded to one rectangle.

Rows keep different numbers of tokens, but a tensor has one length. Every row therefore gets as many slots as the row
with the most real tokens needs, and a row with fewer fills up with *padding slots*: tokens of its own that were pruned,
or that were padding in the prompt. A padding slot is computed but never attended to: attention masks hide it, and its
output is discarded.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

from halfv_core.runtime.layout import TokenLayout


class Shift(NamedTuple):
    """By how much the tokens are moved towards the beginning, where positions are counted anew after a pruning."""

    slots: torch.Tensor
    """(B, n) of each slot's token."""
    later: tuple[int, ...]
    """Of all tokens behind the prefill, in each row."""


@dataclass(frozen=True)
class TokenSlots:
    """The tokens that enter a layer: n slots in each of B rows, the real ones ordered by position."""

    positions: torch.Tensor
    """(B, n) positions in the padded sequence, counted from its first token, earlier turns included; ascending, but for
    padding slots that come first."""
    visual: torch.Tensor
    """(B, n) bool: the slot holds a visual token that may be pruned or frozen."""
    real: torch.Tensor
    """(B, n) bool: false at padding slots."""
    visual_counts: tuple[int, ...]
    """Visual tokens in each row; kept on the host, so that nothing has to wait for the device."""
    real_counts: tuple[int, ...]
    """Real tokens in each row, visual and text."""
    unpruned: bool
    """Whether no token of the prefill has been pruned yet, in any row."""
    shift: Shift | None = None
    """None while all tokens have the positions that they have in the prompt."""
    padding_first: bool = False
    """Whether padding slots come before the tokens of their row instead of among them, so that what layers with a
    running state make of a token does not depend on padding."""

    @classmethod
    def all_of(cls, layout: TokenLayout, past: int, *, padding_first: bool = False) -> "TokenSlots":
        """Slots for all q tokens of a prefill that follows `past` tokens of the sequence."""
        rows, length = layout.visual.shape
        positions = torch.arange(past, past + length, device=layout.visual.device).expand(rows, length)
        counts = layout.counts
        return cls(
            positions=positions,
            visual=layout.prunable,
            real=layout.real,
            visual_counts=counts.prunable,
            real_counts=counts.real,
            unpruned=True,
            padding_first=padding_first,
        )

    @property
    def length(self) -> int:
        """Slots in each row, n."""
        return self.positions.shape[1]

    @property
    def rows(self) -> int:
        """Rows of the batch, B."""
        return self.positions.shape[0]

    @property
    def has_padding(self) -> bool:
        """Whether any slot is a padding slot."""
        return min(self.real_counts) < self.length

    def to(self, device: torch.device) -> "TokenSlots":
        """The same slots with their tensors on `device`."""
        if self.positions.device == device:
            return self
        shift = None if self.shift is None else self.shift._replace(slots=self.shift.slots.to(device))
        moved = {name: getattr(self, name).to(device) for name in ("positions", "visual", "real")}
        return replace(self, shift=shift, **moved)

    def visual_slots(self) -> torch.Tensor:
        """(B, V) ascending slot indices of each row's visual tokens, V in the row with most; any slots behind them."""
        return true_indices_first(self.visual, max(self.visual_counts))

    def without(self, pruned: torch.Tensor, counts: Sequence[int]) -> tuple["TokenSlots", torch.Tensor]:
        """The slots that remain after a pruning.

        Args:
            pruned: (B, n) bool, true only at visual tokens.
            counts: number of pruned tokens in each row.

        Returns:
            The remaining slots, n' in each row, and their indices among the old ones, (B, n').
        """
        real = self.real & ~pruned
        real_counts = tuple(before - gone for before, gone in zip(self.real_counts, counts, strict=True))
        choose = true_indices_last if self.padding_first else true_indices
        remaining = choose(real, max(real_counts))  # (B, n')
        slots = TokenSlots(
            positions=self.positions.gather(1, remaining),
            visual=(self.visual & ~pruned).gather(1, remaining),
            real=real.gather(1, remaining),
            visual_counts=tuple(before - gone for before, gone in zip(self.visual_counts, counts, strict=True)),
            real_counts=real_counts,
            unpruned=self.unpruned and not any(counts),
            shift=None if self.shift is None else self.shift._replace(slots=self.shift.slots.gather(1, remaining)),
            padding_first=self.padding_first,
        )
        return slots, remaining

    def renumbered(self, whole: "TokenSlots") -> "TokenSlots":
        """The same slots with positions counted anew.

        Args:
            whole: the slots of all tokens of the prefill, on the same device.
        """
        before = whole.real.cumsum(1).gather(1, self.positions - whole.positions[:, :1])
        pairs = zip(whole.real_counts, self.real_counts, strict=True)
        later = tuple(total - left for total, left in pairs)
        return replace(self, shift=Shift(before - self.real.cumsum(1), later))


def true_indices(mask: torch.Tensor, count: int) -> torch.Tensor:
    """Ascending indices of the true entries of each row, filled up with the row's first false ones.

    Unlike `nonzero()`, it is told how many there are and does not wait for the device.

    Args:
        mask: (B, n) bool.
        count: number of indices for each row; at least the number of true entries in any row.

    Returns:
        (B, count) indices.
    """
    return true_indices_first(mask, count).sort(dim=1).values


def true_indices_first(mask: torch.Tensor, count: int) -> torch.Tensor:
    """Like `true_indices`, but ascending only up to a row's last true entry; the first false ones follow it."""
    return mask.int().argsort(dim=1, descending=True, stable=True)[:, :count]


def true_indices_last(mask: torch.Tensor, count: int) -> torch.Tensor:
    """Like `true_indices`, but false entries come before all true ones."""
    return mask.int().argsort(dim=1, stable=True)[:, -count:]


def complement(indices: torch.Tensor, length: int) -> torch.Tensor:
    """(B, k) ascending indices below `length` -> (B, length - k): the ascending indices that are missing from them."""
    missing = torch.ones(len(indices), length, dtype=torch.bool, device=indices.device).scatter(1, indices, False)
    return true_indices(missing, length - indices.shape[1])


def gather_tokens(states: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """(B or 1, n, D) states at the token indices (B, k) -> (B, k, D)."""
    if len(indices) == 1:
        return states.index_select(1, indices[0])
    whole = states.expand(len(indices), *states.shape[1:])
    return whole.gather(1, indices[..., None].expand(-1, -1, states.shape[2]))
