"""TokenSlots: which tokens of each row of a batch still travel down the decoder, in one rectangle.

Rows keep different numbers of tokens, and a tensor has one length. So every row has as many slots as the row with most
living tokens needs; a row with fewer fills up with *ghosts*, tokens of its own that are dead or padding. A ghost is
computed and never looked at: attention masks hide it, and what comes out of it is thrown away.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True)
class TokenSlots:
    """The tokens in flight at a layer: n slots in each of B rows, ordered by position."""

    positions: torch.Tensor
    """(B, n) ascending positions in the padded sequence, which counts on from turn to turn."""
    visual: torch.Tensor
    """(B, n) bool: a living visual token that may be pruned or frozen."""
    living: torch.Tensor
    """(B, n) bool: neither padding nor ghost."""
    visual_counts: tuple[int, ...]
    """Living visual tokens of each row, on the host, so that nothing has to wait for the device."""
    living_counts: tuple[int, ...]
    """Living tokens of each row."""
    untouched: bool
    """Whether no token of the turn was dropped yet, in any row."""

    @classmethod
    def all_of(cls, visual: torch.Tensor, real: torch.Tensor, past: int) -> "TokenSlots":
        """Every token of a turn of q tokens that comes after `past` others.

        Args:
            visual: (B, q) bool.
            real: (B, q) bool, false at padding.
        """
        rows, length = visual.shape
        positions = torch.arange(past, past + length, device=visual.device).expand(rows, length)
        counts = torch.stack([visual.sum(1), real.sum(1)]).tolist()  # the one wait for the device
        return cls(positions, visual, real, tuple(counts[0]), tuple(counts[1]), untouched=True)

    @property
    def count(self) -> int:
        """n."""
        return self.positions.shape[1]

    @property
    def rows(self) -> int:
        """B."""
        return self.positions.shape[0]

    @property
    def has_ghosts(self) -> bool:
        """Whether any slot holds a token that must not be looked at."""
        return min(self.living_counts) < self.count

    def to(self, device: torch.device) -> "TokenSlots":
        """The same on another device."""
        if self.positions.device == device:
            return self
        moved = {name: getattr(self, name).to(device) for name in ("positions", "visual", "living")}
        return replace(self, **moved)

    def visual_slots(self, row: int) -> torch.Tensor:
        """(V,) ascending slots of one row's living visual tokens."""
        return first_true(self.visual[row : row + 1], self.visual_counts[row])[0]

    def without(self, dropped: torch.Tensor, counts: Sequence[int]) -> tuple["TokenSlots", torch.Tensor]:
        """Go on without the dropped visual tokens.

        Args:
            dropped: (B, n) bool, true at visual tokens only.
            counts: how many are dropped in each row.

        Returns:
            the slots that remain, and (B, n') their indices among the old ones.
        """
        living = self.living & ~dropped
        living_counts = tuple(have - gone for have, gone in zip(self.living_counts, counts, strict=True))
        chosen = first_true(living, max(living_counts))  # (B, n')
        left = TokenSlots(
            positions=self.positions.gather(1, chosen),
            visual=(self.visual & ~dropped).gather(1, chosen),
            living=living.gather(1, chosen),
            visual_counts=tuple(have - gone for have, gone in zip(self.visual_counts, counts, strict=True)),
            living_counts=living_counts,
            untouched=self.untouched and not any(counts),
        )
        return left, chosen


def first_true(wanted: torch.Tensor, count: int) -> torch.Tensor:
    """(B, n) bool -> (B, count) ascending indices: the true ones, and where they are fewer, the first of the others.

    Unlike nonzero() it knows how many there are, and does not wait for the device.
    """
    order = wanted.int().argsort(dim=1, descending=True, stable=True)  # (B, n)
    return order[:, :count].sort(dim=1).values


def others(indices: torch.Tensor, length: int) -> torch.Tensor:
    """(B, k) ascending indices below `length` -> (B, length - k) ascending: all that are not among them."""
    left = torch.ones(len(indices), length, dtype=torch.bool, device=indices.device).scatter(1, indices, False)
    return first_true(left, length - indices.shape[1])
