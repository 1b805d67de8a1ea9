"""Rule `contribution`: a visual token matters to the answer, so that it is time to keep those that do.

VisiPruner's filter trigger (arXiv 2510.17205, EMNLP 2025). See `selectors.contributions` for what it reads.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.rules.base import RULES, Rule
from halfv_core.selectors.contributions import contributions_in
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


@RULES.register("contribution")
@dataclass(frozen=True)
class Contribution(Rule):
    """Holds if the last prompt token's attention output would turn without any one of the visual tokens."""

    threshold: float = 0.995
    """Cosine similarity of the output with and without the token, below which the token matters."""

    def __post_init__(self) -> None:
        if not -1.0 <= self.threshold <= 1.0:
            raise PlanError("threshold is a cosine similarity", got=self.threshold, expected="-1..1")

    def holds(self, prompt: Prompt) -> "torch.Tensor":
        """See `Rule.holds`."""
        return (contributions_in(prompt).cosines < self.threshold).any()
