"""Selector `uniform`: evenly spaced tokens in reading order, a control that covers the image without looking at it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.selectors.base import SELECTORS, SelectionContext, Selector

if TYPE_CHECKING:
    import torch


@SELECTORS.register("uniform")
@dataclass(frozen=True)
class Uniform(Selector):
    """The token in the middle of each of `count` equal stretches."""

    def select(self, context: SelectionContext, count: int) -> "torch.Tensor":
        """See `Selector.select`."""
        import torch

        steps = torch.arange(count, device=context.device)  # (count,)
        return (2 * steps + 1) * context.visual_count // (2 * count)
