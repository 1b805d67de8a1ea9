"""Selector `priortr`: tokens that the question attends to more than what precedes it does (PriorTR, ECCV 2026).

The first token after the image sees the image but no question, so its attention is the prior. A token's score is its
part of the Kullback-Leibler divergence of the prompted attention from that prior. It reads two rows of the previous
layer's attention (mode `last`), or all rows of the question (mode `question`), and depends on the question.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from halfv_core.errors import PlanError
from halfv_core.selectors.attended import Heads, attention_from, best, question_rows, shares
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


Mode = Literal["last", "question", "question_but_last"]


@SELECTORS.register("priortr")
@dataclass(frozen=True)
class PriorTR(PromptSelector):
    """Choose the tokens with the highest P ln(P / Q), P being the prompted attention and Q the prior."""

    mode: Mode = "question"
    """Whose attention P is: the last token's, or the mean over the text after the image (the paper's for LLaVA-1.5), of
    which its code for Qwen leaves out the last token. For LLaVA-NeXT it is `last`."""
    heads: Heads = "mean"
    """How heads are joined."""
    prior_token: int = 0
    """Which token after the image holds the prior, counted from 0: 0 in LLaVA and Qwen, 2 in InternVL."""

    def __post_init__(self) -> None:
        if self.prior_token < 0:
            raise PlanError("prior_token counts from the image's end", got=self.prior_token, expected="0 or more")

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        question = question_rows(prompt)
        rows = {"last": question[-1:], "question": question, "question_but_last": question[:-1]}[self.mode]
        rows = rows if len(rows) else question
        place = min(self.prior_token, len(question) - 1)
        prompted = attention_from(prompt, rows, "previous")
        prior = attention_from(prompt, question[place : place + 1], "previous")
        return best(priortr(prompted, prior, self.heads), count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"previous"})


def priortr(prompted: "torch.Tensor", prior: "torch.Tensor", heads: Heads = "mean") -> "torch.Tensor":
    """P ln(P / Q) of each visual token.

    Args:
        prompted: (H, q, V) attention of the q rows that know the question, after the softmax over all keys.
        prior: (H, 1, V) the same of the row that does not know it.
        heads: how heads are joined, after the mean over rows.

    Returns:
        (V,) scores, P and Q being normalised to a sum of 1 over the visual tokens.
    """
    import torch

    def joined(attention: torch.Tensor) -> torch.Tensor:
        rows = attention.mean(1)  # (H, V)
        return shares(rows.mean(0) if heads == "mean" else rows.amax(0))

    p, q = joined(prompted), joined(prior)
    return p * torch.log((p + 1e-10) / (q + 1e-10))
