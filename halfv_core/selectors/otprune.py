"""Selector `otprune`: tokens whose distribution is closest to that of all, by a determinant (OTPrune, CVPR 2026).

It looks at the states that enter the Keep's layer, which at layer 0 are the projector's outputs as in the paper. It
needs no attention and no question, and costs two (V, V) matrices and their product.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.selectors.base import SELECTORS, PromptSelector
from halfv_core.selectors.map_dpp import map_dpp
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


@SELECTORS.register("otprune")
@dataclass(frozen=True)
class OTPrune(PromptSelector):
    """Choose greedily the tokens with the largest determinant of I + weight G G, G being the tokens' Gram matrix."""

    weight: float = 0.01
    """How much the Gram matrix counts."""

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        return map_dpp(otprune_kernel(prompt.hidden()[prompt.visual], self.weight), count)


def otprune_kernel(states: "torch.Tensor", weight: float = 0.01) -> "torch.Tensor":
    """(V, D) -> (V, V) float32 kernel of the states, each channel of which is first scaled to length 1 over tokens."""
    import torch

    from halfv_core.precision import no_autocast, widened

    states = widened(states)
    lengths = states.square().sum(0).sqrt().clamp_min(torch.finfo(states.dtype).tiny)
    states = states / lengths
    with no_autocast(states.device):
        gram = states @ states.T
        kernel = weight * (gram @ gram.T)
    kernel.diagonal().add_(1.0)
    return kernel
