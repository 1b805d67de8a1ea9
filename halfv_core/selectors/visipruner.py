"""Selector `visipruner`: the tokens whose part in the last prompt token's attention output exceeds a threshold.

VisiPruner (arXiv 2510.17205, EMNLP 2025), its middle stage. It keeps as many tokens as exceed the threshold, perhaps
none. It reads one row of attention and the values of the layer that has just been passed, so that it depends on the
question. The original asks it at the first layer at which the rule `contribution` holds.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.selectors.base import SELECTORS, Reading, ThresholdSelector
from halfv_core.selectors.contributions import contributions_in
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


@SELECTORS.register("visipruner")
@dataclass(frozen=True)
class VisiPruner(ThresholdSelector):
    """Choose the tokens whose contribution is longer than a threshold."""

    threshold: float = 0.2
    """Length of a contribution that a kept token exceeds."""
    relative: bool = False
    """Whether the threshold is a share of the length of the whole attention output. The original's is not, so that it
    depends on the scale of the model's values."""

    def __post_init__(self) -> None:
        if not self.threshold >= 0.0:
            raise PlanError("threshold is a length", got=self.threshold, expected="0 or more")

    def choose_any(self, prompt: Prompt) -> "torch.Tensor":
        """See `ThresholdSelector.choose_any`."""
        found = contributions_in(prompt)
        norms = found.norms / found.output_norm if self.relative else found.norms
        return (norms > self.threshold).nonzero()[:, 0]

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"previous"})
