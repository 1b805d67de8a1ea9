"""Selector `divprune`: the tokens that are farthest from each other (DivPrune, arXiv 2503.02175, CVPR 2025).

It looks at the states that enter the Keep's layer, which at layer 0 are the projector's outputs as in the paper. It
needs no attention and no question, and one (V, V) matrix of distances.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.selectors.anchor_coverage import cover
from halfv_core.selectors.base import SELECTORS, PromptSelector
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


@SELECTORS.register("divprune")
@dataclass(frozen=True)
class DivPrune(PromptSelector):
    """Choose the token farthest from its nearest neighbour, then again and again the one farthest from those chosen."""

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        return divprune(prompt.hidden()[prompt.visual], count)


def divprune(states: "torch.Tensor", count: int) -> "torch.Tensor":
    """Max-min selection on cosine distance; of equally far tokens the first.

    The paper's code may choose a copy of a chosen token again and again. Here a token is chosen once: when nothing but
    copies is left, they follow in reading order.

    Args:
        states: (V, D), without NaN.
        count: number of tokens to choose, 1 <= count <= V.

    Returns:
        (count,) indices in the order in which they were chosen.
    """
    seed = _most_isolated(states)[None]  # (1, 1)
    return cover(states[None], seed, [1], [count], [len(states)])[0]


def _most_isolated(states: "torch.Tensor") -> "torch.Tensor":
    """(V, D) -> (1,) index of the token whose nearest neighbour is farthest; of two tokens alone the first."""
    import torch
    from torch.nn.functional import normalize

    from halfv_core.precision import no_autocast, widened
    from halfv_core.selectors.anchor_coverage import ROUNDING

    unit = normalize(widened(states), dim=-1)
    with no_autocast(unit.device):
        similarity = unit @ unit.T
    similarity.fill_diagonal_(-torch.inf)
    nearest = similarity.amax(1)  # (V,)
    return (nearest <= nearest.amin() + ROUNDING).int().argmax(0, keepdim=True)
