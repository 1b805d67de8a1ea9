"""Selector `anchor_coverage`: the most attended tokens as anchors, then the tokens farthest from those chosen so far.

This is HalfV's rule at the start of Stage II (paper, inherited redundancy). The second part is greedy k-center
selection on cosine distance, as in DivPrune (arXiv 2503.02175), starting from the anchors.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.selectors.base import SELECTORS, Scoring, SelectionContext, Selector
from halfv_core.selectors.ranking import highest

if TYPE_CHECKING:
    import torch


ROUNDING = 1e-6
"""Cosine similarities that differ by no more than this are equal but for float32 rounding."""


@SELECTORS.register("anchor_coverage")
@dataclass(frozen=True)
class AnchorCoverage(Selector):
    """Choose anchors by attention and the rest by coverage."""

    anchor_share: float = 0.1
    """Share of the kept tokens that are anchors; their number is floor(kept * anchor_share)."""
    scoring: Scoring = "attention"
    """See `Attention.scoring`."""
    rope: bool = False
    """Whether queries and keys carry their rotary positions when anchors are scored; in the paper they do not."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.anchor_share <= 1.0:
            raise PlanError("anchor_share is a share", got=self.anchor_share, expected="0..1")

    def select(self, context: SelectionContext, count: int) -> "torch.Tensor":
        """See `Selector.select`."""
        anchors = self.anchors(count)
        if anchors == 0:
            seeds = _least_typical(context.normed_hidden())
        else:
            seeds = highest(context.attention_scores(self.scoring, self.rope), anchors)
        return cover(context.normed_hidden(), seeds, count)

    def anchors(self, count: int) -> int:
        """See `Selector.anchors`."""
        return math.floor(count * self.anchor_share)


def _least_typical(hidden: "torch.Tensor") -> "torch.Tensor":
    """(V, D) -> (1,) index of the token least similar to the mean, with which a selection without anchors starts.

    Of equally dissimilar tokens it is the first: two tokens alone always are, and rounding would decide between them.
    """
    from torch.nn.functional import normalize

    from halfv_core.precision import no_autocast, widened

    unit = normalize(widened(hidden), dim=-1)
    with no_autocast(unit.device):
        similarity = unit @ unit.mean(0)  # (V,)
    return (similarity <= similarity.min() + ROUNDING).int().argmax(keepdim=True)


def cover(hidden: "torch.Tensor", seeds: "torch.Tensor", count: int) -> "torch.Tensor":
    """Greedy k-center selection: add the token farthest from all chosen ones until `count` tokens are chosen.

    Distance is 1 - cosine similarity. Of tokens that are equally far, the first in reading order is added; those within
    `ROUNDING` of a chosen token are copies of it, and equally far from it. It takes one (V, V) matrix and, for each
    token, three small kernels without host synchronisation: on an accelerator the loop takes the time, not the matrix.

    Args:
        hidden: (V, D) hidden states in reading order, without NaN.
        seeds: (S,) indices to start with, 1 <= S <= count.
        count: number of indices to return, at most V.

    Returns:
        (count,) LongTensor: the seeds, then the others in the order in which they were chosen.
    """
    import torch
    from torch.nn.functional import normalize, threshold

    from halfv_core.precision import no_autocast, widened

    unit = normalize(widened(hidden), dim=-1)  # (V, D)
    with no_autocast(unit.device):
        distance = (unit @ unit.T).neg_().add_(1.0)  # (V, V)
    threshold(
        distance, ROUNDING, 0.0, inplace=True
    )  # the distance of copies is not exactly 0, but a matter of rounding
    # A chosen token must never be chosen again, even among exact duplicates at distance 0.
    distance.fill_diagonal_(-torch.inf)
    nearest = distance[seeds].amin(0)  # (V,)
    chosen = torch.empty(count, dtype=torch.long, device=hidden.device)
    chosen[: len(seeds)] = seeds
    for farthest in chosen[len(seeds) :].split(1):
        torch.argmax(nearest, 0, keepdim=True, out=farthest)
        torch.minimum(nearest, distance.index_select(0, farthest)[0], out=nearest)
    return chosen
