"""Merge `aim`: each pruned token is averaged with the neighbour that it was matched with (AIM, ICCV 2025).

For tokens that the selector `aim_merging` chose: the matching is made again from the same states, so that the tokens
that are left are those of that selector, whatever else was chosen.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.merges.base import MERGES, Merge, Merged
from halfv_core.selectors.aim_merging import merge_down
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


@MERGES.register("aim")
@dataclass(frozen=True)
class AIMMerge(Merge):
    """Average matched tokens, halving by halving."""

    def merge(self, prompt: Prompt, chosen: "torch.Tensor", anchors: int) -> Merged:
        """See `Merge.merge`."""
        states = prompt.hidden()[prompt.visual]
        left, merged = merge_down(states, len(chosen))
        return Merged(left, merged.to(states.dtype))
