"""Rule `exhausted`: no visual token matters to the answer any more, so that all of them may go.

VisiPruner's exit vote (arXiv 2510.17205, EMNLP 2025). See `selectors.contributions` for what it reads.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.rules.base import RULES, Rule
from halfv_core.selectors.contributions import contributions_in
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


@RULES.register("exhausted")
@dataclass(frozen=True)
class Exhausted(Rule):
    """Holds if the last prompt token's attention output keeps its direction without any one of the visual tokens."""

    threshold: float = 0.999
    """Cosine similarity of the output with and without the token, from which on the token does not matter."""
    layers: int = 2
    """At how many layers it has to hold. The paper says consecutive ones; the original's code counts all, as here."""

    def __post_init__(self) -> None:
        if not -1.0 <= self.threshold <= 1.0:
            raise PlanError("threshold is a cosine similarity", got=self.threshold, expected="-1..1")
        if self.layers < 1:
            raise PlanError("layers is a number of layers", got=self.layers, expected="1 or more")

    def holds(self, prompt: Prompt) -> "torch.Tensor":
        """See `Rule.holds`."""
        return (contributions_in(prompt).cosines >= self.threshold).all()

    def votes(self) -> int:
        """See `Rule.votes`."""
        return self.layers
