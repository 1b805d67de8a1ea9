"""Selector `vispruner`: tokens that the vision tower attends to most, and of the rest those that resemble others least.

VisPruner (arXiv 2412.01818, ICCV 2025). It reads one row of attention in the tower and the features that the projector
takes, a matrix of similarities between half of the rest and the other half for each 8 tokens that go, does not look at
the question, and belongs before the decoder.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch

STEP = 8
"""Most tokens that are removed as duplicates at a time."""


@SELECTORS.register("vispruner")
@dataclass(frozen=True)
class VisPruner(PromptSelector):
    """Choose important tokens by attention in the vision tower, then diverse ones by removing duplicates."""

    important_share: float = 0.5
    """Share of the kept tokens that are important, floor(kept * important_share)."""
    layer: int = -2
    """Layer of the vision tower."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.important_share <= 1.0:
            raise PlanError("important_share is a share", got=self.important_share, expected="0..1")

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        vision = prompt.vision()
        return important_then_diverse(vision.attention(self.layer), vision.features(), self.anchors(count), count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"vision"})

    def tower_layers(self) -> frozenset[int]:
        """See `Selector.tower_layers`."""
        return frozenset({self.layer})

    def anchors(self, count: int) -> int:
        """See `Selector.anchors`."""
        return math.floor(count * self.important_share)


def important_then_diverse(
    attention: "torch.Tensor", features: "torch.Tensor", important: int, count: int
) -> "torch.Tensor":
    """The tokens with the highest attention, then what is left of the others when duplicates have been removed.

    The others, in the order of their attention, are split into every first and every second one. Of the first kind, up
    to `STEP` that are most similar to any of the second kind go; the first kind by falling similarity and then the
    second kind are the others from then on. An odd number of others, at which the original stops with an error, leaves
    one more of the first kind.

    Args:
        attention: (V,) float32.
        features: (V, D).
        important: number of the first part, at most `count`.
        count: number of both parts, at most V.

    Returns:
        (count,) LongTensor: the first part by falling attention, then the second.
    """
    import torch
    from torch.nn.functional import normalize

    from halfv_core.precision import no_autocast, widened

    # Unlike `highest`, these sorts tell apart scores that differ by float32 rounding only, as the original does: a swap
    # of neighbours would turn all that follows, because every second token is compared with every other second one.
    order = attention.argsort(descending=True, stable=True)
    diverse = count - important
    if diverse == 0:
        return order[:count]
    unit = normalize(widened(features), dim=-1)
    pool = order[important:]
    with no_autocast(unit.device):
        while len(pool) > diverse:
            first, second = pool[::2], pool[1::2]
            closest = (unit[first] @ unit[second].mT).amax(1)
            goes = min(STEP, len(pool) - diverse, len(first))
            pool = torch.cat([first[closest.argsort(descending=True, stable=True)[goes:]], second])
    return torch.cat([order[:important], pool])
