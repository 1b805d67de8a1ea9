"""CachedTokens: which tokens the caches of a group of layers hold, once they hold fewer than the sequence has."""

from dataclasses import dataclass

import torch

from halfv_core.runtime.token_slots import TokenSlots


@dataclass(frozen=True)
class CachedTokens:
    """The tokens in the caches of the layers between two prunings, which have seen the same.

    Cache entries stand in the order of `positions`, and after them every later token of the sequence.
    """

    positions: torch.Tensor
    """(B, m) positions of the first m entries."""
    living: torch.Tensor
    """(B, m) bool: entries that may be looked at."""
    tail: int
    """All tokens of the sequence from this position on are held, behind the m."""
    has_ghosts: bool
    """Whether any of the m is a ghost."""

    def length(self, past: int) -> int:
        """Entries in the cache when the sequence has `past` tokens."""
        return self.positions.shape[1] + past - self.tail

    def keys(self, past: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions and livingness of all entries, (B, length(past)) each."""
        rows = len(self.positions)
        later = torch.arange(self.tail, past, device=self.positions.device).expand(rows, -1)
        return torch.cat([self.positions, later], 1), torch.cat([self.living, torch.ones_like(later).bool()], 1)

    @classmethod
    def after(cls, before: "CachedTokens | None", slots: TokenSlots, past: int, now: int) -> "CachedTokens | None":
        """What is held after a turn whose slots went through the layers; None while that is the whole sequence.

        Args:
            before: what was held before the turn.
            past, now: length of the sequence before and after the turn.
        """
        if before is None and slots.untouched:
            return None
        if before is None:
            device, rows = slots.positions.device, slots.rows
            earlier = torch.arange(past, device=device).expand(rows, past)
            before = cls(earlier, torch.ones(rows, past, dtype=torch.bool, device=device), past, has_ghosts=False)
        positions, living = before.keys(past)
        return cls(
            positions=torch.cat([positions, slots.positions], 1),
            living=torch.cat([living, slots.living], 1),
            tail=now,
            has_ghosts=before.has_ghosts or slots.has_ghosts,
        )
