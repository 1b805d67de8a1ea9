"""Selector `aim_merging`: one of each pair of similar neighbours, as in AIM before the decoder (ICCV 2025).

Bipartite matching as in ToMe, of tokens in alternation; the merge `aim` then averages what is matched. It looks at the
states that enter the Keep's layer, at layer 0 the projector's outputs as in AIM (arXiv 2412.03248). It needs no
attention and no question, and costs a (V/2, V/2) matrix for each halving.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.selectors.attended import best
from halfv_core.selectors.base import SELECTORS, PromptSelector
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


@SELECTORS.register("aim_merging")
@dataclass(frozen=True)
class AIMMerging(PromptSelector):
    """Choose the tokens into which the most similar ones of the others can be merged."""

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        return merge_down(prompt.hidden()[prompt.visual], count)[0]


def merge_down(states: "torch.Tensor", count: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Merge until `count` tokens are left: half of them in each step, and in the last step as many as it takes.

    Args:
        states: (V, D), without NaN.
        count: 1 <= count <= V.

    Returns:
        (count,) indices of the tokens that are left, and (count, D) float32 what they hold then.
    """
    import torch

    from halfv_core.precision import widened

    left, states = torch.arange(len(states), device=states.device), widened(states)
    while len(left) > count:
        kept, states = bipartite_merge(states, min(len(left) // 2, len(left) - count))
        left = left[kept]
    return left, states


def bipartite_merge(states: "torch.Tensor", merged: int) -> "tuple[torch.Tensor, torch.Tensor]":
    """Merge the tokens at even places that are most similar to a token at an odd place into that one.

    Args:
        states: (V, D) float32, without NaN.
        merged: number of tokens that are merged, at most V // 2.

    Returns:
        (V - merged,) indices of the tokens that are left: those at even places by falling similarity, then those at odd
        places; and (V - merged, D) what they hold, at odd places the mean of the token and of what goes into it.
    """
    import torch
    from torch.nn.functional import normalize

    from halfv_core.precision import no_autocast

    unit = normalize(states, dim=-1)
    with no_autocast(unit.device):
        similarity, partner = (unit[::2] @ unit[1::2].T).max(1)  # (sources,)
    order = best(similarity, len(similarity))
    goes, stays = order[:merged], order[merged:]
    sums = states[1::2].index_add(0, partner[goes], states[::2][goes])
    sizes = torch.ones_like(sums[:, 0]).index_add(0, partner[goes], torch.ones_like(similarity[goes]))
    odd = torch.arange(1, len(states), 2, device=states.device)
    return torch.cat([2 * stays, odd]), torch.cat([states[::2][stays], sums / sizes[:, None]])
