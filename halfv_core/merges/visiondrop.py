"""Merge `visiondrop`: what the pruned tokens hold goes into the chosen ones that are no anchors.

VisionDrop (AAAI 2026), for tokens that the selector `visiondrop` chose. Each pruned token goes to the contextual token
whose key in the decoder layer, with its position and mean over heads, is most similar by cosine; a contextual token
becomes itself plus the mean of what goes to it.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.merges.base import MERGES, Merge, Merged, outside
from halfv_core.merges.visionzip import add_means
from halfv_core.selectors.base import Reading
from halfv_core.selectors.prompt import At, Prompt

if TYPE_CHECKING:
    import torch


@MERGES.register("visiondrop")
@dataclass(frozen=True)
class VisionDropMerge(Merge):
    """Add to each contextual token the mean of the pruned tokens that are most similar to it."""

    at: At = "own"
    """The layer whose keys are compared."""

    def merge(self, prompt: Prompt, chosen: "torch.Tensor", anchors: int) -> Merged:
        """See `Merge.merge`."""
        import torch

        hidden = prompt.hidden()[prompt.visual]  # (V, D)
        states = hidden[chosen]
        if anchors == len(chosen):
            return Merged(chosen, states)
        keys = prompt.keys(self.at).mean(0)[prompt.visual]
        merged = add_means(hidden, keys, chosen[anchors:], outside(chosen, len(hidden)))
        return Merged(chosen, torch.cat([states[:anchors], merged.to(states.dtype)]))

    def reads(self) -> frozenset[Reading]:
        """See `Merge.reads`."""
        return frozenset({"previous"} if self.at == "previous" else ())
