"""Selector `attention`: the tokens that the last prompt token attends to most in the previous layer.

This is HalfV's rule in Stage III for token sparsity (paper, secondary saturation redundancy); with scoring over all
keys it is also FastV's rule (arXiv 2403.06764).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.selectors.base import SELECTORS, Reading, Scoring, SelectionContext, Selector
from halfv_core.selectors.ranking import highest

if TYPE_CHECKING:
    import torch


@SELECTORS.register("attention")
@dataclass(frozen=True)
class Attention(Selector):
    """Choose the tokens with the highest attention scores; of equal ones the earlier (see `highest`)."""

    scoring: Scoring = "attention"
    """`attention`: scaled, softmax over all keys that the query sees; `release`: unscaled, softmax over visual keys
    only."""
    rope: bool = True
    """Whether queries and keys carry their rotary positions."""

    def select(self, context: SelectionContext, counts: Sequence[int]) -> "torch.Tensor":
        """See `Selector.select`."""
        return highest(context.attention_scores(self.scoring, self.rope), max(counts))

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"previous"})

    def anchors(self, count: int) -> int:
        """See `Selector.anchors`."""
        return count
