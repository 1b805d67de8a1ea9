"""Selector `fitprune`: the tokens that both the question and the other visual tokens attend to (FitPrune).

"Fit and Prune" (arXiv 2409.10197, AAAI 2025). Its schedule, how many tokens go in which layer, is a matter of the plan.
It reads the attention of all question tokens and all visual tokens, so that its cost grows with the square of their
number, and depends on the question.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.selectors.attended import attention_received, best, question_rows
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import At, Prompt

if TYPE_CHECKING:
    import torch


@SELECTORS.register("fitprune")
@dataclass(frozen=True)
class FitPrune(PromptSelector):
    """Choose the tokens with the highest product of attention from the question and from the image."""

    at: At = "previous"
    """The layer whose attention is read: the paper's code prunes between a layer's attention and its MLP, which is
    nearly to prune before the next layer."""

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        from_text = attention_received(prompt, question_rows(prompt), self.at, "max")
        from_visual = attention_received(prompt, prompt.visual, self.at, "max")
        return best(fitprune(from_text, from_visual), count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"previous"} if self.at == "previous" else ())


def fitprune(from_text: "torch.Tensor", from_visual: "torch.Tensor") -> "torch.Tensor":
    """The product of two sums.

    Args:
        from_text: (V,) sum over the text after the image of the maximum over heads of the attention to each token.
        from_visual: (V,) the same sum over the visual tokens.

    Returns:
        (V,) scores.
    """
    return from_text * (from_visual / len(from_visual))
