"""Selector `v2drop`: the tokens that the previous layer changed most (V2Drop, CVPR 2026).

It looks at what enters the Keep's layer and the one before it. It needs no attention and no question, and costs one
norm a token.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.selectors.attended import best
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


@SELECTORS.register("v2drop")
@dataclass(frozen=True)
class V2Drop(PromptSelector):
    """Choose the tokens whose hidden states changed most in the previous layer."""

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        return best(variation(prompt.hidden("previous"), prompt.hidden())[prompt.visual], count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"previous"})


def variation(before: "torch.Tensor", after: "torch.Tensor") -> "torch.Tensor":
    """(n, D) and (n, D) -> (n,) length of the change of each token, in float32."""
    from halfv_core.precision import widened

    return (widened(after) - widened(before)).square().sum(-1).sqrt()
