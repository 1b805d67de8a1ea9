"""Selector `anchor_coverage`: a few most-attended anchors, then farthest-point fill so that nothing is left uncovered.

HalfV's choice at the start of Stage II (paper, inherited redundancy). The fill is greedy k-centre on cosine distance,
the rule of DivPrune (arXiv 2503.02175) seeded with the anchors.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.selectors.base import SELECTORS, Scoring, SelectionContext, Selector

if TYPE_CHECKING:
    import torch


@SELECTORS.register("anchor_coverage")
@dataclass(frozen=True)
class AnchorCoverage(Selector):
    """Anchors by attention, the rest by coverage."""

    anchor_share: float = 0.1
    """Share of the kept tokens that are anchors, floor(kept * anchor_share)."""
    scoring: Scoring = "attention"
    """See `Attention.scoring`."""
    rope: bool = False
    """Whether the anchors' queries and keys carry their rotary positions; the paper leaves them out here."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.anchor_share <= 1.0:
            raise PlanError("anchor_share is a share", got=self.anchor_share, expected="0..1")

    def select(self, context: SelectionContext, count: int) -> "torch.Tensor":
        """See `Selector.select`."""
        anchors = self.anchors(count)
        if anchors == 0:
            seeds = _least_typical(context.normed_hidden())
        else:
            seeds = context.attention_scores(self.scoring, self.rope).topk(anchors).indices
        return cover(context.normed_hidden(), seeds, count)

    def anchors(self, count: int) -> int:
        """See `Selector.anchors`."""
        return math.floor(count * self.anchor_share)


def _least_typical(hidden: "torch.Tensor") -> "torch.Tensor":
    """(V, D) -> (1,) index of the token least like the mean, where a fill without anchors starts.

    The first of those that are equally unlike it: two tokens always are, and rounding would choose between them.
    """
    from torch.nn.functional import normalize

    unit = normalize(hidden.float(), dim=-1)
    likeness = unit @ unit.mean(0)  # (V,)
    return (likeness <= likeness.min() + 1e-6).int().argmax(keepdim=True)


def cover(hidden: "torch.Tensor", seeds: "torch.Tensor", count: int) -> "torch.Tensor":
    """Greedy k-centre: add, until `count` tokens are chosen, the token farthest from all that are chosen.

    Distance is 1 - cosine. One similarity matrix, and three small kernels a step without host synchronisation: on an
    accelerator the steps, not the matrix, are what takes time.

    Args:
        hidden: (V, D) states.
        seeds: (S,) indices to begin with, 1 <= S <= count.
        count: how many indices to return, at most V.

    Returns:
        (count,) LongTensor, the seeds first, then in the order of choice.
    """
    import torch
    from torch.nn.functional import normalize

    unit = normalize(hidden.float(), dim=-1)  # (V, D)
    distance = (unit @ unit.T).neg_().add_(1.0)  # (V, V)
    # A chosen token must never win again, even among exact duplicates at distance 0.
    distance.fill_diagonal_(-torch.inf)
    nearest = distance[seeds].amin(0)  # (V,)
    chosen = torch.empty(count, dtype=torch.long, device=hidden.device)
    chosen[: len(seeds)] = seeds
    for farthest in chosen[len(seeds) :].split(1):
        torch.argmax(nearest, 0, keepdim=True, out=farthest)
        torch.minimum(nearest, distance.index_select(0, farthest)[0], out=nearest)
    return chosen
