"""Merge `framefusion`: a patch that the next frames repeat is averaged over them (FrameFusion, ICCV 2025).

For tokens that the selector `framefusion` chose: a run of pruned tokens that each resemble the same patch of the frame
before goes into the token that the run follows. What was pruned for lack of attention is lost.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.merges.base import MERGES, Merge, Merged, outside
from halfv_core.selectors.base import Reading
from halfv_core.selectors.framefusion import frame_similarity
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


@MERGES.register("framefusion")
@dataclass(frozen=True)
class FrameFusionMerge(Merge):
    """Average runs of repeated patches into their first token."""

    similarity: float = 0.6
    """As in the selector."""

    def __post_init__(self) -> None:
        if not -1.0 <= self.similarity <= 1.0:
            raise PlanError("similarity is a cosine", got=self.similarity, expected="-1..1")

    def merge(self, prompt: Prompt, chosen: "torch.Tensor", anchors: int) -> Merged:
        """See `Merge.merge`."""
        import torch

        states, grids = prompt.hidden()[prompt.visual], prompt.grids
        repeated = outside(chosen, len(states)) & (frame_similarity(states, grids) >= self.similarity)
        sizes = [frames * height * width for frames, height, width in grids]
        parts = [
            run_means(tokens.unflatten(0, (grid[0], -1)), again.unflatten(0, (grid[0], -1))).flatten(0, 1)
            for tokens, again, grid in zip(states.split(sizes), repeated.split(sizes), grids, strict=True)
        ]
        return Merged(chosen, torch.cat(parts)[chosen].to(states.dtype))

    def reads(self) -> frozenset[Reading]:
        """See `Merge.reads`."""
        return frozenset({"grids"})


def run_means(states: "torch.Tensor", repeated: "torch.Tensor") -> "torch.Tensor":
    """Average each patch with those that repeat it in the following frames.

    Args:
        states: (frames, patches, D).
        repeated: (frames, patches) bool, false in the first frame.

    Returns:
        (frames, patches, D) float32; any at repeated tokens.
    """
    import torch

    from halfv_core.precision import widened

    states = widened(states)
    frames = torch.arange(len(states), device=states.device)[:, None]
    start = torch.where(repeated, -1, frames).cummax(0).values  # (frames, patches) frame in which a token's run begins
    sums = torch.zeros_like(states).scatter_add_(0, start[..., None].expand_as(states), states)
    sizes = torch.zeros_like(states[..., 0]).scatter_add_(0, start, torch.ones_like(states[..., 0]))
    return sums / sizes.clamp_min(1)[..., None]
