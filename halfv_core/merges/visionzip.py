"""Merge `visionzip`: what the pruned tokens hold goes into the chosen ones that are no anchors.

VisionZip (arXiv 2412.04467, CVPR 2025), for tokens that the selector `visionzip` chose. Each pruned token goes to the
contextual token whose key in the vision tower, mean over heads, is most similar by cosine; a contextual token becomes
itself plus the mean of what goes to it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from halfv_core.merges.base import MERGES, Merge, Merged, outside
from halfv_core.selectors.base import Reading
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


@MERGES.register("visionzip")
@dataclass(frozen=True)
class VisionZipMerge(Merge):
    """Add to each contextual token the mean of the pruned tokens that are most similar to it."""

    of: Literal["features", "states"] = "features"
    """What is added up: `features` before the projector, as in the original, or `states` as they enter the layer. Only
    the latter has a meaning behind the first decoder layers."""
    layer: int = -2
    """Layer of the vision tower whose keys are compared."""

    def merge(self, prompt: Prompt, chosen: "torch.Tensor", anchors: int) -> Merged:
        """See `Merge.merge`."""
        import torch

        hidden = prompt.hidden()[prompt.visual]  # (V, D)
        states = hidden[chosen]
        if anchors == len(chosen):
            return Merged(chosen, states)
        vision, targets = prompt.vision(), chosen[anchors:]
        keys, pruned = vision.keys(self.layer), outside(chosen, len(hidden))
        if self.of == "features":
            merged = vision.project(add_means(vision.features(), keys, targets, pruned))
        else:
            merged = add_means(hidden, keys, targets, pruned)
        return Merged(chosen, torch.cat([states[:anchors], merged.to(states.dtype)]))

    def reads(self) -> frozenset[Reading]:
        """See `Merge.reads`."""
        return frozenset({"vision"})

    def tower_layers(self) -> frozenset[int]:
        """See `Merge.tower_layers`."""
        return frozenset({self.layer})


def add_means(
    states: "torch.Tensor", keys: "torch.Tensor", targets: "torch.Tensor", pruned: "torch.Tensor"
) -> "torch.Tensor":
    """Each target plus the mean of the pruned tokens to which it is the most similar target.

    Args:
        states: (V, D), what is added up.
        keys: (V, d), what is compared by cosine.
        targets: (k,) indices, k at least 1; of equally similar ones the first counts.
        pruned: (V,) bool, false at the targets.

    Returns:
        (k, D) float32.
    """
    import torch
    from torch.nn.functional import normalize

    from halfv_core.precision import no_autocast, widened

    states, unit = widened(states), normalize(widened(keys), dim=-1)
    with no_autocast(unit.device):
        nearest = (unit @ unit[targets].mT).argmax(1)  # (V,)
        goes_to = (nearest == torch.arange(len(targets), device=nearest.device)[:, None]) & pruned  # (k, V)
        sums = goes_to.to(states.dtype) @ states
    return states[targets] + sums / goes_to.sum(1).clamp_min(1)[:, None]
