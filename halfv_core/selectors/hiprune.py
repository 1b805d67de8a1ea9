"""Selector `hiprune`: tokens that a middle layer of the vision tower attends to, their neighbours, and a deep layer's.

HiPrune (arXiv 2508.00553, ACL 2026 Findings). It reads the attention that tokens get from all others in two layers of
the tower, which takes the whole attention matrix of both, and the patch grid; it does not look at the question, and
belongs before the decoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import Prompt
from halfv_core.selectors.ranking import first_then, highest

if TYPE_CHECKING:
    import torch


@SELECTORS.register("hiprune")
@dataclass(frozen=True)
class HiPrune(PromptSelector):
    """Choose anchor tokens by a middle layer, the buffer tokens around them, and register tokens by a deep layer.

    Should anchors and buffers be more tokens than are kept, those go to which the deep layer attends least.
    """

    alpha: float = 0.1
    """Share of the kept tokens that are anchors or buffers; round(kept * alpha / 5) are anchors."""
    object_layer: int = 9
    """Middle layer of the vision tower; the original takes 16 for Qwen2.5-VL."""
    deep_layer: int = -2
    """Deep layer of the vision tower; the original takes the layer of which the projector takes the output."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha <= 1.0:
            raise PlanError("alpha is a share", got=self.alpha, expected="0..1")

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        vision = prompt.vision()
        deep = vision.column_mean(self.deep_layer)
        anchors = anchors_and_buffers(
            vision.column_mean(self.object_layer), prompt.grids, round(count * self.alpha / 5)
        )
        return first_then(anchors, deep, count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"vision"})

    def tower_layers(self) -> frozenset[int]:
        """See `Selector.tower_layers`."""
        return frozenset({self.object_layer, self.deep_layer})


def anchors_and_buffers(
    attention: "torch.Tensor", grids: Sequence[tuple[int, int, int]], anchors: int
) -> "torch.Tensor":
    """The tokens with the highest attention and their four neighbours in the grid, read row by row.

    As in the original, the neighbour behind the last token of a row is the first token of the next one.

    Args:
        attention: (V,) float32.
        grids: (frames, height, width) of each image; they have V places.
        anchors: number of tokens with the highest attention.

    Returns:
        (V,) bool.
    """
    import torch

    kept = torch.zeros(len(attention), dtype=torch.bool, device=attention.device)
    if anchors == 0:
        return kept
    kept[highest(attention[None], anchors)[0]] = True
    places = [kept_in_image.clone() for kept_in_image in kept.split([f * h * w for f, h, w in grids])]
    return torch.cat([_with_neighbours(part, width) for part, (_, _, width) in zip(places, grids, strict=True)])


def _with_neighbours(anchors: "torch.Tensor", width: int) -> "torch.Tensor":
    grown = anchors.clone()
    for step in (1, width):
        grown[step:] |= anchors[:-step]
        grown[:-step] |= anchors[step:]
    return grown
