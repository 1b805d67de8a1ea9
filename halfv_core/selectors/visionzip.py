"""Selector `visionzip`: the most attended tokens of the vision tower, and evenly spaced ones of the rest.

VisionZip (arXiv 2412.04467, CVPR 2025). The first part, *dominant* tokens, are the anchors; the others, *contextual*
ones, are those into which the merge `visionzip` puts the tokens that go. It reads attention in the tower (one row for
each image, or one layer's matrix where the tower has no CLS token), does not look at the question, and belongs before
the decoder. The original keeps the CLS token's state as one of the dominant tokens; here it is one more patch.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import Prompt
from halfv_core.selectors.ranking import highest

if TYPE_CHECKING:
    import torch


@SELECTORS.register("visionzip")
@dataclass(frozen=True)
class VisionZip(PromptSelector):
    """Choose dominant tokens by attention in the vision tower, then contextual ones at equal steps of the rest."""

    contextual_share: float = 0.15625
    """Share of the kept tokens that are contextual, floor(kept * contextual_share); 10 of 64, 20 of 128, 30 of 192."""
    layer: int = -2
    """Layer of the vision tower."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.contextual_share <= 1.0:
            raise PlanError("contextual_share is a share", got=self.contextual_share, expected="0..1")

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        return dominant_then_contextual(prompt.vision().attention(self.layer), self.anchors(count), count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"vision"})

    def tower_layers(self) -> frozenset[int]:
        """See `Selector.tower_layers`."""
        return frozenset({self.layer})

    def anchors(self, count: int) -> int:
        """See `Selector.anchors`."""
        return count - math.floor(count * self.contextual_share)


def dominant_then_contextual(attention: "torch.Tensor", dominant: int, count: int) -> "torch.Tensor":
    """The tokens with the highest attention, then tokens at equal steps through the others, in reading order.

    Args:
        attention: (V,) float32.
        dominant: number of the first kind, at most `count`.
        count: number of both, at most V.

    Returns:
        (count,) LongTensor: dominant tokens by falling attention, contextual ones ascending.
    """
    import torch

    order = highest(attention[None], len(attention))[0]
    rest = order[dominant:].sort().values
    contextual = count - dominant
    if contextual == 0:
        return order[:dominant]
    return torch.cat([order[:dominant], rest[:: max(1, len(rest) // contextual)][:contextual]])
