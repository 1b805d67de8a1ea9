"""Selector `random`: a seeded random draw, the baseline that every other selector has to beat."""

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

    def select(self, context: SelectionContext, count: int) -> "torch.Tensor":
        """See `Selector.select`."""
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(context.visual_count, generator=generator)[:count].to(context.device)
