"""Selector `random`: a seeded random draw, the baseline that every other selector has to beat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.selectors.base import SELECTORS, SelectionContext, Selector

if TYPE_CHECKING:
    import torch


@SELECTORS.register("random")
@dataclass(frozen=True)
class Random(Selector):
    """Draw without replacement; the same seed and number of tokens give the same draw on every device."""

    seed: int = 0

    def select(self, context: SelectionContext, counts: Sequence[int]) -> "torch.Tensor":
        """See `Selector.select`."""
        import torch

        chosen = torch.zeros(len(counts), max(counts), dtype=torch.long)
        for row, (visual, count) in enumerate(zip(context.visual_counts, counts, strict=True)):
            generator = torch.Generator().manual_seed(self.seed)
            chosen[row, :count] = torch.randperm(visual, generator=generator)[:count]
        return chosen.to(context.device, non_blocking=True)
