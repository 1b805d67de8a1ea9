"""Selector `transprune`: tokens that are transformed most and that the question attends to (TransPrune, CVPR 2026).

A token's transition in a sub-layer, attention or MLP, is how long its output is compared with its input, and how
differently directed. Transitions add up from the layer before the plan's first Keep with this selector on (in the
paper, layer 6). It looks at what enters and leaves these sub-layers, and at the own layer's attention of all question
rows.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.selectors.attended import attention_received, best, question_rows, shares
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import At, Prompt

if TYPE_CHECKING:
    import torch


@SELECTORS.register("transprune")
@dataclass(frozen=True)
class TransPrune(PromptSelector):
    """Choose the tokens with the highest sum of transition and attention, each normalised to a sum of 1."""

    at: At = "own"
    """The layer whose attention is read."""

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        transitions = prompt.transitions().index_select(2, prompt.visual)
        attention = attention_received(prompt, question_rows(prompt), self.at, "mean")
        return best(transprune(transitions, attention), count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"transitions", "previous"} if self.at == "previous" else {"transitions"})


def transition_weight(before: "torch.Tensor", after: "torch.Tensor") -> "torch.Tensor":
    """Transition of each token in one sub-layer.

    Args:
        before: (..., n, D) what the sub-layer gets, after its norm.
        after: (..., n, D) what it returns, before it is added to the residual stream.

    Returns:
        (..., n) float32: ratio of lengths, times the token's share of exp(1 - cosine) over all n tokens.
    """
    import torch

    from halfv_core.precision import widened

    before, after = widened(before), widened(after)
    turned = torch.exp(1 - torch.cosine_similarity(before, after, dim=-1))
    lengths = before.square().sum(-1).sqrt().clamp_min(torch.finfo(before.dtype).tiny)
    return after.square().sum(-1).sqrt() / lengths * shares(turned)


def transprune(transitions: "torch.Tensor", attention: "torch.Tensor") -> "torch.Tensor":
    """The score of the visual tokens.

    Args:
        transitions: (layers, 2, V) of the layers so far.
        attention: (V,) attention from the question, summed over rows.

    Returns:
        (V,) scores.
    """
    return shares(transitions.sum((0, 1))) + shares(attention)
