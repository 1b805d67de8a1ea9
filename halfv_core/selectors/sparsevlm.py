"""Selector `sparsevlm`: the tokens that the visually relevant words of the question attend to most.

SparseVLM (arXiv 2410.04417, ICML 2025). The words, called raters, are those that resemble the image more than the mean
word does, in the input embeddings; their attention in the previous layer scores the visual tokens. Version 2, of the
authors' code since December 2025, takes out of the attention what rotary positions alone explain, and joins only the
heads in which the raters look at the image most. It reads a row of attention for each token of the question.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from halfv_core.selectors.attended import attention_from, best, question_rows
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch

HEADS = 14
"""Number of heads that version 2 joins."""


@SELECTORS.register("sparsevlm")
@dataclass(frozen=True)
class SparseVLM(PromptSelector):
    """Choose the tokens with the highest attention from the raters."""

    version: Literal[1, 2] = 1
    """1: mean over all heads, as in the paper, with a merge of the same name; 2: see above."""

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        return best(sparsevlm_scores(prompt, self.version), count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"previous", "input"})


def sparsevlm_scores(prompt: Prompt, version: int) -> "torch.Tensor":
    """(V,) float32 scores of the visual tokens of a prompt.

    The paper's code finds the raters once, with all visual tokens; here it is with those that are left.
    """
    rows, embeddings = question_rows(prompt), prompt.hidden("input")
    asking = raters(embeddings[prompt.visual], embeddings[rows])
    attention = attention_from(prompt, rows, "previous")
    if version == 2:
        kernel = position_kernel(*prompt.rotary())
        attention = attention / kernel[rows].index_select(1, prompt.visual)
    return rated(attention, asking, HEADS if version == 2 else None)


def raters(visual: "torch.Tensor", text: "torch.Tensor") -> "torch.Tensor":
    """Which text tokens resemble the image more than the mean of them does.

    Args:
        visual: (V, D) input embeddings of the visual tokens.
        text: (t, D) input embeddings of the text.

    Returns:
        (t,) bool; all of them if none stands out.
    """
    from halfv_core.precision import no_autocast, widened

    with no_autocast(visual.device):
        relevance = (widened(visual) @ widened(text).T).softmax(1).mean(0)  # (t,)
    above = relevance > relevance.mean()
    return above | ~above.any()


def rated(attention: "torch.Tensor", asking: "torch.Tensor", heads: int | None = None) -> "torch.Tensor":
    """Mean attention from the raters.

    Args:
        attention: (H, t, V) attention of the text to the visual tokens.
        asking: (t,) bool, the raters.
        heads: number of heads that are joined, those with the most attention from raters; None for all.

    Returns:
        (V,) scores.
    """
    from_raters = _from_raters(attention, asking)  # (H, V)
    if heads is not None:
        from_raters = from_raters[priority_heads(attention, asking, heads)]
    return from_raters.mean(0)


def priority_heads(attention: "torch.Tensor", asking: "torch.Tensor", count: int) -> "torch.Tensor":
    """(H, t, V), (t,) -> (min(count, H),) heads with the most attention from raters to visual tokens, most first."""
    return best(_from_raters(attention, asking).sum(1), min(count, len(attention)))


def _from_raters(attention: "torch.Tensor", asking: "torch.Tensor") -> "torch.Tensor":
    weights = asking.to(attention.dtype)
    return (attention * weights[:, None]).sum(1) / weights.sum()  # (H, V)


def position_kernel(cosine: "torch.Tensor", sine: "torch.Tensor") -> "torch.Tensor":
    """(n, d) rotary tables -> (n, n) float32: scaled products of vectors of ones that are rotated to the positions."""
    import math

    from halfv_core.precision import no_autocast, widened

    cosine, sine = widened(cosine), widened(sine)
    half = cosine.shape[1] // 2
    ones = cosine.clone()
    ones[:, :half] -= sine[:, :half]
    ones[:, half:] += sine[:, half:]
    with no_autocast(ones.device):
        return ones @ ones.T / math.sqrt(ones.shape[1])
