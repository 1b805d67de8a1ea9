"""Selector `pyramiddrop`: the tokens that the last prompt token attends to most in the Keep's own layer.

PyramidDrop (arXiv 2410.17247, CVPR 2025). It differs from `attention` in the layer alone: queries and keys are those of
the layer before which it prunes, with the rotary positions of the tokens that are left. It reads one row of attention,
which depends on the question.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.selectors.attended import attention_from, best, question_rows
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import At, Prompt

if TYPE_CHECKING:
    import torch


@SELECTORS.register("pyramiddrop")
@dataclass(frozen=True)
class PyramidDrop(PromptSelector):
    """Choose the tokens with the highest attention of the last row, mean over heads."""

    at: At = "own"
    """The layer whose attention is read."""

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        return pyramiddrop(attention_from(prompt, question_rows(prompt)[-1:], self.at)[:, 0], count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"previous"} if self.at == "previous" else ())


def pyramiddrop(attention: "torch.Tensor", count: int) -> "torch.Tensor":
    """(H, V) attention of the last row, after the softmax over all keys -> (count,) indices by falling attention."""
    return best(attention.mean(0), count)
