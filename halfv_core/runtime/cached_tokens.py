"""CachedTokens: which tokens of the sequence the KV cache of some layers holds, once it no longer holds all of them."""

from dataclasses import dataclass, replace

import torch

from halfv_core.runtime.token_slots import TokenSlots


@dataclass(frozen=True)
class CachedTokens:
    """The tokens in the caches of the layers between two prunings, all of which hold the same ones.

    The first m cache entries are described one by one; after them comes every later token of the sequence.
    """

    positions: torch.Tensor
    """(B, m) positions in the sequence of the first m entries."""
    real: torch.Tensor
    """(B, m) bool: false at entries that came from padding slots and must not be attended to."""
    suffix_start: int
    """Position in the sequence from which on every token is cached, after the first m entries."""
    has_padding: bool
    """Whether any of the first m entries came from a padding slot."""
    shift: torch.Tensor | None = None
    """(B,) by how much later tokens are moved towards the beginning in these layers; None for not at all."""

    def length(self, past: int) -> int:
        """Number of cache entries when the sequence has `past` tokens."""
        return self.positions.shape[1] + past - self.suffix_start

    def sequence_length(self, entries: int) -> int:
        """Number of tokens in the sequence when there are that many cache entries."""
        return entries - self.positions.shape[1] + self.suffix_start

    def entries(self, past: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions of all entries, and which of them are real; (B, length(past)) each."""
        rows = len(self.positions)
        suffix = torch.arange(self.suffix_start, past, device=self.positions.device).expand(rows, -1)
        return torch.cat([self.positions, suffix], 1), torch.cat([self.real, torch.ones_like(suffix).bool()], 1)

    def select_rows(self, indices: torch.Tensor) -> "CachedTokens":
        """The same for a cache whose rows were replaced by the rows `indices`, (B',)."""
        indices = indices.to(self.positions.device)
        shift = None if self.shift is None else self.shift[indices.to(self.shift.device)]
        return replace(self, positions=self.positions[indices], real=self.real[indices], shift=shift)

    @classmethod
    def after_prefill(
        cls, before: "CachedTokens | None", slots: TokenSlots, past: int, length: int
    ) -> "CachedTokens | None":
        """What the caches hold after a prefill whose `slots` went through the layers.

        Args:
            before: what they held before the prefill, None for the whole sequence.
            slots: the tokens that the layers added to their caches.
            past: length of the sequence before the prefill.
            length: length of the sequence after it.

        Returns:
            None as long as the caches hold the whole sequence.
        """
        if before is None and slots.unpruned:
            return None
        if before is None:
            device, rows = slots.positions.device, slots.rows
            earlier = torch.arange(past, device=device).expand(rows, past)
            before = cls(earlier, torch.ones(rows, past, dtype=torch.bool, device=device), past, has_padding=False)
        positions, real = before.entries(past)
        shift = before.shift
        if slots.shift is not None:
            added = torch.tensor(slots.shift.later).to(slots.positions.device, non_blocking=True)
            shift = added if shift is None else added + shift.to(added.device)
        return cls(
            positions=torch.cat([positions, slots.positions], 1),
            real=torch.cat([real, slots.real], 1),
            suffix_start=length,
            has_padding=before.has_padding or slots.has_padding,
            shift=shift,
        )
