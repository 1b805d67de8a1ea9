"""Selectors `prumerge` and `prumerge_adaptive`: tokens with outlying attention in the vision tower, and a regular grid.

LLaVA-PruMerge+ (arXiv 2403.15388, ICCV 2025); the merge `prumerge` belongs to them. `prumerge_adaptive` keeps as many
tokens as the rule finds; `prumerge` keeps a given number. They read one row of attention in the tower, of the queries
and keys of all heads taken as one, do not look at the question, and belong before the decoder.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading, ThresholdSelector
from halfv_core.selectors.prompt import Prompt
from halfv_core.selectors.ranking import first_then, highest

if TYPE_CHECKING:
    import torch


@SELECTORS.register("prumerge")
@dataclass(frozen=True)
class PruMerge(PromptSelector):
    """Choose as the rule does for the largest number of outliers with which it keeps no more tokens than asked for.

    The others are those with the highest attention.
    """

    spatial: bool = True
    """Whether tokens at equal steps are kept beside the outliers, as in PruMerge+; without them, in PruMerge, this is
    a ranking by attention."""
    layer: int = -1
    """Layer of the vision tower; the original's is the last one, although the projector takes the output of -2."""

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        attention = prompt.vision().attention(self.layer, whole=True)
        outliers = count
        while self.spatial and outliers and outliers + len(steps(len(attention), outliers)) > count:
            outliers -= 1
        return first_then(outliers_and_steps(attention, outliers, self.spatial and outliers > 0), attention, count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"vision"})

    def tower_layers(self) -> frozenset[int]:
        """See `Selector.tower_layers`."""
        return frozenset({self.layer})


@SELECTORS.register("prumerge_adaptive")
@dataclass(frozen=True)
class PruMergeAdaptive(ThresholdSelector):
    """Choose as the paper does: outliers are above the third quartile by more than 1.5 times the interquartile range.

    Where there are none, at which the original fails, the token with the highest attention counts as one.
    """

    spatial: bool = True
    """Whether tokens at equal steps are kept beside the outliers, as in PruMerge+."""
    layer: int = -1
    """Layer of the vision tower."""

    def choose_any(self, prompt: Prompt) -> "torch.Tensor":
        """See `ThresholdSelector.choose_any`."""
        attention = prompt.vision().attention(self.layer, whole=True)
        return outliers_and_steps(attention, max(1, count_outliers(attention)), self.spatial).nonzero()[:, 0]

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"vision"})

    def tower_layers(self) -> frozenset[int]:
        """See `Selector.tower_layers`."""
        return frozenset({self.layer})


def count_outliers(attention: "torch.Tensor") -> int:
    """How many of the (V,) numbers exceed the third quartile by more than 1.5 times the interquartile range."""
    import torch

    lower, upper = attention.quantile(torch.tensor([0.25, 0.75], dtype=attention.dtype, device=attention.device))
    return int((attention > upper + 1.5 * (upper - lower)).sum())


def steps(visual: int, outliers: int) -> range:
    """The tokens at equal steps beside so many outliers, at least 1; all but the last if every third is an outlier."""
    return range(0, visual - 1, max(1, int(1 / (outliers / visual)) // 3))


def outliers_and_steps(attention: "torch.Tensor", outliers: int, spatial: bool) -> "torch.Tensor":
    """What PruMerge keeps if it has found so many outliers, at least 1 if `spatial`.

    Args:
        attention: (V,) float32.
        outliers: number of tokens with the highest attention.
        spatial: whether tokens at equal steps are kept, too.

    Returns:
        (V,) bool.
    """
    import torch

    visual = len(attention)
    kept = torch.zeros(visual, dtype=torch.bool, device=attention.device)
    kept[highest(attention[None], int(visual * (outliers / visual)))[0]] = True  # rounded as in the original
    if spatial:
        places = steps(visual, outliers)
        kept[places.start : places.stop : places.step] = True
    return kept
