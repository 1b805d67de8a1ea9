"""Selector `random`: a seeded uniform draw, the control that every other selector has to beat."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.selectors.base import SELECTORS, SelectionContext, Selector

if TYPE_CHECKING:
    import torch


@SELECTORS.register("random")
@dataclass(frozen=True)
class Random(Selector):
    """A draw without replacement, the same for the same seed and number of tokens, on every device."""

    seed: int = 0

    def select(self, context: SelectionContext, count: int) -> "torch.Tensor":
        """See `Selector.select`."""
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        return torch.randperm(context.visual_count, generator=generator)[:count].to(context.device)
