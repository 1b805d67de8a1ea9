"""Selector `holov`: a quota for each stretch of the token sequence, filled with its most attended tokens.

HoloV (arXiv 2510.02912, NeurIPS 2025), as its code computes it. It reads attention in the vision tower and the tokens
as they enter the layer, compares tokens within a stretch only, does not look at the question, and belongs before the
decoder.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import Prompt
from halfv_core.selectors.ranking import first_then, highest

if TYPE_CHECKING:
    import torch

SCALE = 1e3
"""What the original multiplies attention by."""
EPSILON = 1e-6


@SELECTORS.register("holov")
@dataclass(frozen=True)
class HoloV(PromptSelector):
    """Choose the most attended tokens within each of several stretches, more of them where attention is high.

    Where a quota exceeds its stretch, for which the original appends zeros, the most attended of all others follow.
    """

    chunks: int = 16
    """Number of stretches; 0 for floor(1.778 * visual tokens / kept), the original's rule for Qwen2.5-VL."""
    beta: float = 0.09
    """Weight of the spread of similarities within a stretch, which is scaled to the stretch's mean attention; its mean
    is therefore the same share of each stretch's score, and it hardly changes the quotas."""
    layer: int = -2
    """Layer of the vision tower; the original takes -1 for Qwen2.5-VL."""

    def __post_init__(self) -> None:
        if self.chunks < 0:
            raise PlanError("chunks is a number of stretches", got=self.chunks, expected="0 or more")

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        attention = prompt.vision().attention(self.layer)
        chunks = self.chunks or int(1.778 * len(attention) / count)
        states = prompt.hidden()[prompt.visual]
        kept = within_quotas(states, attention, min(max(1, chunks), len(attention)), count, self.beta)
        return first_then(kept, attention, count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"vision"})

    def tower_layers(self) -> frozenset[int]:
        """See `Selector.tower_layers`."""
        return frozenset({self.layer})


def within_quotas(
    states: "torch.Tensor", attention: "torch.Tensor", chunks: int, count: int, beta: float = 0.09
) -> "torch.Tensor":
    """What HoloV keeps.

    Args:
        states: (V, D).
        attention: (V,) float32, not negative.
        chunks: number of stretches, at most V; the first ones are longer by one token where they cannot be equal.
        count: number of tokens, at most V.
        beta: see `HoloV.beta`.

    Returns:
        (V,) bool, true at `count` tokens or, where a quota exceeds its stretch, fewer.
    """
    import torch

    tokens = torch.arange(len(attention)).tensor_split(chunks)
    rows = torch.nn.utils.rnn.pad_sequence(list(tokens), batch_first=True, padding_value=-1).to(attention.device)
    real = rows >= 0  # (chunks, S)
    rows = rows.clamp_min(0)
    attended = attention[rows].masked_fill(~real, 0.0)
    size = real.sum(1)
    spread = _spread_of_similarity(states[rows], real)
    mean = attended.sum(1) / size * SCALE
    score = mean + beta * mean * spread / (spread + EPSILON)
    quota = _quotas(score, count)
    ranking = highest(attended.masked_fill(~real, -1.0), rows.shape[1])
    rank = torch.arange(rows.shape[1], device=rows.device)
    chosen = (rank < quota[:, None]) & real.gather(1, ranking)
    times = torch.zeros(len(attention), dtype=torch.int32, device=rows.device)
    return times.index_add_(0, rows.gather(1, ranking).flatten(), chosen.flatten().int()) > 0


def _quotas(score: "torch.Tensor", count: int) -> "torch.Tensor":
    """(chunks,) shares of `count` by score, rounded down; what is left goes to the stretches with the highest score."""
    import torch

    share = score / (score.sum() + EPSILON)
    quota = (share * count).floor().long()
    left = count - quota.sum()
    ranking = highest(share[None], len(share))[0]
    return quota.index_add_(0, ranking, (torch.arange(len(share), device=share.device) < left).long())


def _spread_of_similarity(states: "torch.Tensor", real: "torch.Tensor") -> "torch.Tensor":
    """Mean over a stretch's tokens of the variance of their cosine similarities to its other tokens.

    A token's similarity to itself counts as 0, and adds its squared distance from the mean, as in the original.

    Args:
        states: (chunks, S, D).
        real: (chunks, S) bool, false at padding.

    Returns:
        (chunks,) float32, 0 for stretches of one token.
    """
    import torch

    from halfv_core.precision import no_autocast, widened

    states = widened(states)
    unit = states / (states.norm(dim=-1, keepdim=True) + EPSILON)
    with no_autocast(unit.device):
        similarity = unit @ unit.mT
    pairs = real[:, :, None] & real[:, None, :]
    itself = torch.eye(real.shape[1], dtype=torch.bool, device=real.device)
    similarity = similarity.masked_fill(~pairs | itself, 0.0)
    size = real.sum(1)[:, None]
    others = (size - 1).clamp_min(1)
    mean = similarity.sum(2) / others
    squares = (similarity - mean[..., None]).square().masked_fill(~pairs, 0.0)
    variance = squares.sum(2) / others  # (chunks, S)
    mean_variance: torch.Tensor = variance.masked_fill(~real, 0.0).sum(1) / size[:, 0]
    return mean_variance.masked_fill(size[:, 0] < 2, 0.0)
