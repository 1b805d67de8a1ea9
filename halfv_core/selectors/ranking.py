"""Ranking by score, with a rule for ties that does not depend on the device."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

TIE = 1e-6
"""Scores that differ by no more than this share count as equal: float32 rounding explains it, and differs by device."""


def highest(scores: "torch.Tensor", count: int) -> "torch.Tensor":
    """The tokens with the highest scores; of equal ones those that come first in reading order.

    Unlike `topk`, whose choice among ties is not defined. Neighbours in a chain of ties are all equal.

    Args:
        scores: (R, V) float32, not NaN, in reading order.
        count: number of tokens in each row, at most V.

    Returns:
        (R, count) LongTensor, by falling score.
    """
    import torch

    values, indices = scores.sort(dim=1, descending=True, stable=True)
    falls = values[:, :-1] - values[:, 1:] > TIE * values[:, :-1].abs()  # (R, V - 1)
    rank = torch.nn.functional.pad(falls.cumsum(1), (1, 0))  # (R, V) equal for equal scores
    order = (rank * scores.shape[1] + indices).argsort(dim=1)[:, :count]
    return indices.gather(1, order)


def first_then(kept: "torch.Tensor", scores: "torch.Tensor", count: int) -> "torch.Tensor":
    """Bring what a rule keeps to a given number: the kept tokens first, then the others, each by falling score.

    Args:
        kept: (V,) bool.
        scores: (V,) float32, not NaN, in reading order.
        count: number of tokens, at most V.

    Returns:
        (count,) LongTensor.
    """
    import torch

    order = highest(scores[None], len(scores))[0]
    place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
    return torch.where(kept, place, place + len(place)).argsort()[:count]
