"""Merge `apet`: pruned tokens are averaged into the chosen ones, the last of which become a basis (ApET, CVPR 2026).

For tokens that the selector `apet` chose, in its order. The chosen tokens that are approximated best make room for the
basis; each pruned token goes to the most similar of the other chosen tokens, by cosine, which becomes the mean.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.merges.base import MERGES, Merge, Merged, outside
from halfv_core.selectors.apet import Of, basis_tokens
from halfv_core.selectors.base import Reading
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


@MERGES.register("apet")
@dataclass(frozen=True)
class ApETMerge(Merge):
    """Average what is pruned into the chosen tokens, and keep the basis tokens in the places of the last ones."""

    basis: int = 10
    """Number of basis tokens, as in the selector; one fewer than the chosen tokens, if these are too few."""
    of: Of = "states"
    """What is averaged, as in the selector."""

    def __post_init__(self) -> None:
        if self.basis < 1:
            raise PlanError("basis is a number of tokens", got=self.basis, expected="1 or more")

    def merge(self, prompt: Prompt, chosen: "torch.Tensor", anchors: int) -> Merged:
        """See `Merge.merge`."""
        states = prompt.hidden()[prompt.visual]
        merging = prompt.vision().features() if self.of == "features" else states
        merged = apet_merge(merging, chosen, basis_tokens(merging, self.basis))
        merged = prompt.vision().project(merged) if self.of == "features" else merged
        return Merged(chosen, merged.to(states.dtype))

    def reads(self) -> frozenset[Reading]:
        """See `Merge.reads`."""
        return frozenset({"vision"} if self.of == "features" else ())


def apet_merge(states: "torch.Tensor", chosen: "torch.Tensor", basis: "torch.Tensor") -> "torch.Tensor":
    """What the chosen tokens hold after merging.

    Args:
        states: (V, D), without NaN.
        chosen: (k,) indices, those with the largest error first.
        basis: (b,) indices, of which the first k - 1 count if there are more.

    Returns:
        (k, D) float32 in the order of `chosen`. The basis tokens lie in the last places, in the order of these places.
    """
    import torch
    from torch.nn.functional import normalize

    from halfv_core.precision import no_autocast, widened

    states = widened(states)
    basis = basis[: len(chosen) - 1]
    targets, places = chosen[: len(chosen) - len(basis)], chosen[len(chosen) - len(basis) :]
    unit = normalize(states, dim=-1)
    with no_autocast(unit.device):
        nearest = (unit @ unit[targets].T).argmax(1)  # (V,)
        to_target = nearest == torch.arange(len(targets), device=nearest.device)[:, None]
        goes_to = (to_target & outside(chosen, len(states))).to(states.dtype)  # (targets, V)
        means = (states[targets] + goes_to @ states) / (1 + goes_to.sum(1, keepdim=True))
    return torch.cat([means, states[basis[places.argsort().argsort()]]])
