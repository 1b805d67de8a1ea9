"""Selector `anchor_coverage`: the most attended tokens as anchors, then the tokens farthest from those chosen so far.

This is HalfV's rule at the start of Stage II (paper, inherited redundancy). The second part is greedy k-center
selection on cosine distance, as in DivPrune (arXiv 2503.02175), starting from the anchors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.selectors.base import SELECTORS, Reading, Scoring, SelectionContext, Selector, padding_of
from halfv_core.selectors.farthest import farthest_fill
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

    def select(self, context: SelectionContext, counts: Sequence[int]) -> "torch.Tensor":
        """See `Selector.select`."""
        import torch

        hidden = context.normed_hidden()  # (R, V, D)
        anchors = [self.anchors(count) for count in counts]
        if not any(anchors):
            seeds = _least_typical(hidden, context.visual_counts)  # (R, 1)
        else:
            seeds = highest(context.attention_scores(self.scoring, self.rope), max(anchors))  # (R, max(anchors))
            if not all(anchors):
                without = torch.tensor(anchors).to(hidden.device, non_blocking=True)[:, None] == 0  # (R, 1)
                seeds = torch.where(without, _least_typical(hidden, context.visual_counts), seeds)
        return cover(hidden, seeds, [max(1, each) for each in anchors], counts, context.visual_counts)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"previous"} if self.anchor_share else ())

    def anchors(self, count: int) -> int:
        """See `Selector.anchors`."""
        return math.floor(count * self.anchor_share)


def _least_typical(hidden: "torch.Tensor", visual_counts: Sequence[int]) -> "torch.Tensor":
    """(R, V, D) -> (R, 1) index of the token least similar to the mean, with which a selection without anchors starts.

    Of equally dissimilar tokens it is the first: two tokens alone always are, and rounding would decide between them.
    """
    import torch
    from torch.nn.functional import normalize

    from halfv_core.precision import no_autocast, widened

    unit = normalize(widened(hidden), dim=-1)
    padding = padding_of(visual_counts, unit.device)
    if padding is None:
        mean = unit.mean(1)  # (R, D)
    else:
        real = (~padding)[..., None]
        mean = torch.where(real, unit, 0.0).sum(1) / real.sum(1)
    with no_autocast(unit.device):
        similarity = (unit @ mean[..., None]).squeeze(-1)  # (R, V)
    if padding is not None:
        similarity = similarity.masked_fill(padding, math.inf)
    lowest = similarity.amin(1, keepdim=True)
    return (similarity <= lowest + ROUNDING).int().argmax(1, keepdim=True)


def cover(
    hidden: "torch.Tensor",
    seeds: "torch.Tensor",
    seed_counts: Sequence[int],
    counts: Sequence[int],
    visual_counts: Sequence[int],
) -> "torch.Tensor":
    """Greedy k-center selection: add the token farthest from all chosen ones until enough are chosen.

    Distance is 1 - cosine similarity. Of tokens that are equally far, the first in reading order is added; those within
    `ROUNDING` of a chosen token are copies of it, and equally far from it. It takes one (V, V) matrix for each row.

    Args:
        hidden: (R, V, D) hidden states in reading order, without NaN; padded at the end of a row.
        seeds: (R, S) indices to start with.
        seed_counts: how many of them count in each row, 1 <= seed_counts[r] <= counts[r].
        counts: number of indices to choose in each row, at most visual_counts[r].
        visual_counts: number of tokens in each row, at most V.

    Returns:
        (R, max(counts)) LongTensor: the row's seeds, then the others in the order in which they were chosen. Entries
        of row r from counts[r] on have no meaning.
    """
    import torch
    from torch.nn.functional import normalize, threshold

    from halfv_core.precision import no_autocast, widened

    surplus = padding_of(seed_counts, seeds.device)
    if surplus is not None:
        seeds = torch.where(surplus, seeds[:, :1], seeds)  # a seed that comes twice changes nothing
    steps = max(count - given for count, given in zip(counts, seed_counts, strict=True))
    if steps == 0:
        return seeds
    unit = normalize(widened(hidden), dim=-1)  # (R, V, D)
    with no_autocast(unit.device):
        distance = (unit @ unit.mT).neg_().add_(1.0)  # (R, V, V)
    threshold(
        distance, ROUNDING, 0.0, inplace=True
    )  # the distance of copies is not exactly 0, but a matter of rounding
    # A chosen token must never be chosen again, even among exact duplicates at distance 0.
    distance.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
    nearest = distance.gather(1, seeds[..., None].expand(-1, -1, unit.shape[1])).amin(1)  # (R, V)
    padding = padding_of(visual_counts, unit.device)
    if padding is not None:
        nearest.masked_fill_(padding, -torch.inf)
    chosen = torch.cat([seeds, farthest_fill(distance, nearest, steps)], 1)  # (R, S + steps)
    if surplus is not None:
        chosen = _close_gaps(chosen, seeds.shape[1], seed_counts)
    return chosen[:, : max(counts)]


def _close_gaps(chosen: "torch.Tensor", seeds: int, seed_counts: Sequence[int]) -> "torch.Tensor":
    """Move what follows the first `seeds` entries of a row up to its last seed that counts."""
    import torch

    entries = torch.arange(chosen.shape[1], device=chosen.device)
    lengths = torch.tensor(seed_counts).to(chosen.device, non_blocking=True)[:, None]
    source = torch.where(entries < lengths, entries, entries - lengths + seeds)  # (R, S + steps)
    return chosen.gather(1, source.clamp_max(chosen.shape[1] - 1))
