"""Rule `settled`: the answer no longer changes from layer to layer, so that visual tokens may go.

DyVTE (arXiv 2411.19628) lets visual tokens go at a layer that a small trained network chooses for each prompt, from the
states of the text. This is a stand-in without training, by the logit lens: the token that the model would answer with,
were the layer its last. It costs the LM head on two tokens in each layer at which it is asked.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.rules.base import RULES, Rule
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


@RULES.register("settled")
@dataclass(frozen=True)
class Settled(Rule):
    """Holds if the likeliest next token is the same before and after the layer."""

    layers: int = 3
    """At how many layers it has to hold, one after the other or not."""

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise PlanError("layers is a number of layers", got=self.layers, expected="1 or more")

    def holds(self, prompt: Prompt) -> "torch.Tensor":
        """See `Rule.holds`."""
        return prompt.next_token("previous") == prompt.next_token("own")

    def votes(self) -> int:
        """See `Rule.votes`."""
        return self.layers
