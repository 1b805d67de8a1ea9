"""Selector `uniform`: evenly spaced tokens in reading order, a baseline that covers the image whatever it shows."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.selectors.base import SELECTORS, SelectionContext, Selector

if TYPE_CHECKING:
    import torch


@SELECTORS.register("uniform")
@dataclass(frozen=True)
class Uniform(Selector):
    """Choose the middle token of each of `count` equally long stretches."""

    def select(self, context: SelectionContext, count: int) -> "torch.Tensor":
        """See `Selector.select`."""
        import torch

        stretches = torch.arange(count, device=context.device)  # (count,)
        return (2 * stretches + 1) * context.visual_count // (2 * count)
