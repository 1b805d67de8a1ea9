"""Selector `scope`: tokens that cover the others best, weighted by attention in the vision tower (SCOPE, NeurIPS 2025).

One after another it adds the token with the largest gain: the sum over all tokens of how much more similar it is than
any chosen one, times its attention. It looks at the vision tower, does not look at the question, and costs a (V, V)
matrix and one pass over it for each kept token.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


@SELECTORS.register("scope")
@dataclass(frozen=True)
class Scope(PromptSelector):
    """Choose by coverage times attention."""

    of: Literal["features", "states"] = "features"
    """What tokens are compared by: `features` before the projector, or `states` as they enter the layer."""
    coverage_only: bool = False
    """Whether all tokens count as equally attended."""
    layer: int = -2
    """Layer of the vision tower whose attention counts."""

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        states = prompt.vision().features() if self.of == "features" else prompt.hidden()[prompt.visual]
        return scope(states, None if self.coverage_only else prompt.vision().attention(self.layer), count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset() if self.coverage_only and self.of == "states" else frozenset({"vision"})

    def tower_layers(self) -> frozenset[int]:
        """See `Selector.tower_layers`."""
        return frozenset() if self.coverage_only else frozenset({self.layer})


def scope(states: "torch.Tensor", attention: "torch.Tensor | None", count: int) -> "torch.Tensor":
    """Greedy weighted coverage.

    Args:
        states: (V, D), without NaN.
        attention: (V,) not negative; None for equal attention. Its scale does not matter.
        count: number of tokens to choose, 1 <= count <= V.

    Returns:
        (count,) distinct indices in the order in which they were chosen; of equal gains the first token.
    """
    import torch
    from torch.nn.functional import normalize

    from halfv_core.precision import no_autocast, widened

    unit = normalize(widened(states), dim=-1)
    with no_autocast(unit.device):
        similarity = unit @ unit.T
    covered = torch.zeros(len(unit), dtype=unit.dtype, device=unit.device)
    left = torch.ones(len(unit), dtype=torch.bool, device=unit.device)
    chosen = torch.empty(count, dtype=torch.long, device=unit.device)
    for step in range(count):
        gain = (similarity - covered).clamp_min_(0).sum(1)
        if attention is not None:
            gain = gain * attention
        best = torch.where(left, gain, -1.0).argmax(0, keepdim=True)  # (1,)
        chosen[step : step + 1] = best
        left.index_fill_(0, best, False)
        covered = torch.maximum(covered, similarity.index_select(0, best)[0])
    return chosen
