"""Selector `uniform`: evenly spaced tokens in reading order, a baseline that covers the image whatever it shows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.selectors.base import SELECTORS, SelectionContext, Selector

if TYPE_CHECKING:
    import torch


@SELECTORS.register("uniform")
@dataclass(frozen=True)
class Uniform(Selector):
    """Choose the middle token of each of `count` equally long stretches."""

    def select(self, context: SelectionContext, counts: Sequence[int]) -> "torch.Tensor":
        """See `Selector.select`."""
        import torch

        stretches = torch.arange(max(counts), device=context.device)  # (max(counts),)
        # Sizes stay Python numbers, which need no transfer to the device.
        rows = [
            (2 * stretches + 1) * visual // (2 * count)
            for visual, count in zip(context.visual_counts, counts, strict=True)
        ]
        return torch.stack(rows)
