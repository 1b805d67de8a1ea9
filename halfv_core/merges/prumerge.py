"""Merge `prumerge`: each kept token takes in the tokens most similar to it, and one more token takes in all the rest.

LLaVA-PruMerge (arXiv 2403.15388, ICCV 2025), for tokens that the selectors `prumerge` and `prumerge_adaptive` chose.
Tokens are added up with the attention that they get in the vision tower, which is not normalised. Its cost is a
similarity of each kept token to all tokens.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from halfv_core.merges.base import MERGES, Merge, Merged, outside
from halfv_core.selectors.base import Reading
from halfv_core.selectors.prompt import Prompt
from halfv_core.selectors.ranking import highest

if TYPE_CHECKING:
    import torch


@MERGES.register("prumerge")
@dataclass(frozen=True)
class PruMergeMerge(Merge):
    """Add to each chosen token its nearest tokens times their attention; keep the pruned ones' sum as one token.

    That one stands at the last of the pruned tokens' places; in the original, behind the image.
    """

    nearest: int = 32
    """Number of tokens that a chosen one takes in, which may be chosen ones, too."""
    of: Literal["features", "states"] = "features"
    """What is added up: `features` before the projector, as in the original, or `states` as they enter the layer."""
    layer: int = -1
    """Layer of the vision tower whose attention and keys are read, those of all heads taken as one."""

    def merge(self, prompt: Prompt, chosen: "torch.Tensor", anchors: int) -> Merged:
        """See `Merge.merge`."""
        import torch

        vision, hidden = prompt.vision(), prompt.hidden()[prompt.visual]  # (V, D)
        attention, keys = vision.attention(self.layer, whole=True), vision.keys(self.layer, whole=True)
        states = vision.features() if self.of == "features" else hidden
        merged = add_nearest(states, attention, keys, chosen, self.nearest)
        if self.of == "features":
            merged = vision.project(merged)
        places = torch.arange(len(hidden), device=chosen.device)
        last = torch.where(outside(chosen, len(hidden)), places, -1).argmax(0, keepdim=True)
        return Merged(torch.cat([chosen, last]), merged.to(hidden.dtype))

    def extra(self, visual: int, count: int) -> int:
        """See `Merge.extra`."""
        return 1

    def reads(self) -> frozenset[Reading]:
        """See `Merge.reads`."""
        return frozenset({"vision"})

    def tower_layers(self) -> frozenset[int]:
        """See `Merge.tower_layers`."""
        return frozenset({self.layer})


def add_nearest(
    states: "torch.Tensor", attention: "torch.Tensor", keys: "torch.Tensor", chosen: "torch.Tensor", nearest: int
) -> "torch.Tensor":
    """Each chosen token plus its nearest tokens times their attention, then the sum of the others times theirs.

    Args:
        states: (V, D), what is added up.
        attention: (V,) float32.
        keys: (V, d), what is compared by cosine.
        chosen: (k,) indices, fewer than V.
        nearest: number of tokens that each takes in; V - 1 if it is larger.

    Returns:
        (k + 1, D) float32.
    """
    import torch
    from torch.nn.functional import normalize

    from halfv_core.precision import no_autocast, widened

    states, unit = widened(states), normalize(widened(keys), dim=-1)
    weighted = states * attention[:, None]
    with no_autocast(unit.device):
        similarity = unit[chosen] @ unit.mT  # (k, V)
    similarity = similarity.scatter(1, chosen[:, None], -2.0)  # below any cosine: a token does not take in itself
    close = highest(similarity, min(nearest, len(states) - 1))  # (k, nearest)
    rest = (weighted * outside(chosen, len(states))[:, None]).sum(0, keepdim=True)
    return torch.cat([states[chosen] + weighted[close].sum(1), rest])
