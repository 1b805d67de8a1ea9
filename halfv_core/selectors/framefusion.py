"""Selector `framefusion`: tokens that do not repeat the frame before, and of these the most attended.

FrameFusion (arXiv 2501.01986, ICCV 2025), in one step. The original merges, in each layer from the first on, what
resembles the same patch of the frame before, until less than a tenth does, and then cuts once by attention. Here a Keep
drops the most similar of these tokens, and if there are not enough of them, those that get the least attention from all
tokens of the prompt; the merge `framefusion` does the averaging. It needs the grid of frames, so nothing may have been
pruned before, and reads all of the Keep's own layer's attention, whose cost grows with the square of the prompt. It
depends on the question through that attention alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.selectors.attended import attention_received, best
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import At, Prompt

if TYPE_CHECKING:
    import torch


@SELECTORS.register("framefusion")
@dataclass(frozen=True)
class FrameFusion(PromptSelector):
    """Choose tokens that are new in their frame, and of these the most attended."""

    similarity: float = 0.6
    """Cosine similarity from which a token repeats the same patch of the frame before."""
    at: At = "own"
    """The layer whose attention is read."""

    def __post_init__(self) -> None:
        if not -1.0 <= self.similarity <= 1.0:
            raise PlanError("similarity is a cosine", got=self.similarity, expected="-1..1")

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        import torch

        repeats = frame_similarity(prompt.hidden()[prompt.visual], prompt.grids)
        everyone = torch.arange(len(prompt.visual) + len(prompt.text), device=prompt.device)
        received = attention_received(prompt, everyone, self.at, "mean")
        return best(framefusion(repeats, received, self.similarity), count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"grids", "previous"} if self.at == "previous" else {"grids"})


def frame_similarity(states: "torch.Tensor", grids: Sequence[tuple[int, int, int]]) -> "torch.Tensor":
    """Cosine similarity of each token and the same patch of the frame before.

    Args:
        states: (V, D), video by video, frame by frame.
        grids: (frames, height, width) of each image or video.

    Returns:
        (V,) float32; -2 in first frames.
    """
    import torch
    from torch.nn.functional import cosine_similarity

    from halfv_core.precision import widened

    parts = []
    sizes = [frames * height * width for frames, height, width in grids]
    for tokens, (frames, _, _) in zip(widened(states).split(sizes), grids, strict=True):
        video = tokens.unflatten(0, (frames, -1))  # (frames, patches, D)
        first = torch.full_like(video[:1, :, 0], -2.0)
        parts.append(torch.cat([first, cosine_similarity(video[1:], video[:-1], dim=-1)]).flatten())
    return torch.cat(parts)


def framefusion(repeats: "torch.Tensor", received: "torch.Tensor", threshold: float = 0.6) -> "torch.Tensor":
    """Scores by which tokens are kept.

    Args:
        repeats: (V,) see `frame_similarity`.
        received: (V,) attention that each token gets, not negative.
        threshold: see `FrameFusion.similarity`.

    Returns:
        (V,) what a token gets, or for one that repeats, a negative number that falls with similarity.
    """
    import torch

    return torch.where(repeats >= threshold, -2.0 - repeats, received)
