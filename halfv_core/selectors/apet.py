"""Selector `apet`: the tokens that a few basis tokens explain worst (ApET, CVPR 2026).

The basis tokens are far from each other; every token is approximated by their linear combination. It looks at features
of the vision tower or at states inside the decoder, needs no attention and no question, and costs a few passes over the
tokens. The merge `apet` puts the basis and what is pruned into the chosen tokens.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from halfv_core.errors import PlanError
from halfv_core.selectors.attended import best
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch

Of = Literal["features", "states"]

RIDGE = 1e-5


@SELECTORS.register("apet")
@dataclass(frozen=True)
class ApET(PromptSelector):
    """Choose the tokens with the largest error of approximation."""

    basis: int = 10
    """Number of basis tokens."""
    of: Of = "states"
    """What is approximated: `features` before the projector, as the paper does before the decoder, or `states` as they
    enter the layer, as it does inside."""

    def __post_init__(self) -> None:
        if self.basis < 1:
            raise PlanError("basis is a number of tokens", got=self.basis, expected="1 or more")

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        states = prompt.vision().features() if self.of == "features" else prompt.hidden()[prompt.visual]
        return best(approximation_error(states, basis_tokens(states, self.basis)), count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"vision"} if self.of == "features" else ())


def basis_tokens(states: "torch.Tensor", count: int, start: int = 0) -> "torch.Tensor":
    """Farthest-point sampling by Euclidean distance.

    Args:
        states: (V, D), without NaN.
        count: number of tokens; all V if it is larger.
        start: the first of them, which the paper's code draws at random.

    Returns:
        (min(count, V),) distinct indices in the order in which they were chosen.
    """
    import torch

    from halfv_core.precision import widened

    states = widened(states)
    count = min(count, len(states))
    chosen = torch.full((count,), start, dtype=torch.long, device=states.device)
    nearest = torch.full_like(states[:, 0], torch.inf)
    for step in range(1, count):
        last = chosen[step - 1 : step]
        nearest = torch.minimum(nearest, (states - states[last]).square().sum(-1))
        nearest.index_fill_(0, last, -torch.inf)
        chosen[step : step + 1] = nearest.argmax(0, keepdim=True)
    return chosen


def approximation_error(states: "torch.Tensor", basis: "torch.Tensor") -> "torch.Tensor":
    """Distance of each token from its ridge regression on the basis tokens.

    Args:
        states: (V, D), without NaN.
        basis: (k,) indices. Copies among them are harmless, as the equations are solved in float64.

    Returns:
        (V,) float32.
    """
    import torch

    from halfv_core.precision import no_autocast

    wide = states.double()
    with no_autocast(states.device):
        seeds = wide[basis]
        gram = seeds @ seeds.T
        gram.diagonal().add_(RIDGE)
        # Unlike `solve`, it does not wait for the device to say that the matrix can be inverted, which a ridge ensures.
        weights = torch.linalg.solve_ex(gram, seeds @ wide.T).result  # (k, V)
        rest: torch.Tensor = wide - weights.T @ seeds
    return rest.square().sum(-1).sqrt().float()
