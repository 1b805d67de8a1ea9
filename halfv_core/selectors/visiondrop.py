"""Selector `visiondrop`: the tokens that the other visual tokens attend to most, and evenly spaced ones of the rest.

VisionDrop (AAAI 2026): VisionZip's rule inside the decoder. The first part, *dominant* tokens, are the anchors; the
others, *contextual* ones, are those into which the merge `visiondrop` puts the tokens that go. It reads the attention
of all visual tokens in the Keep's own layer, so that its cost grows with the square of their number. It does not look
at the question.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.errors import PlanError
from halfv_core.selectors.attended import attention_received
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import At, Prompt
from halfv_core.selectors.visionzip import dominant_then_contextual

if TYPE_CHECKING:
    import torch


@SELECTORS.register("visiondrop")
@dataclass(frozen=True)
class VisionDrop(PromptSelector):
    """Choose dominant tokens by attention from visual tokens, then contextual ones at equal steps of the rest."""

    contextual_share: float = 0.2
    """Share of the kept tokens that are contextual, floor(kept * contextual_share)."""
    at: At = "own"
    """The layer whose attention is read."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.contextual_share <= 1.0:
            raise PlanError("contextual_share is a share", got=self.contextual_share, expected="0..1")

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        received = attention_received(prompt, prompt.visual, self.at, "mean")
        return dominant_then_contextual(received, self.anchors(count), count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"previous"} if self.at == "previous" else ())

    def anchors(self, count: int) -> int:
        """See `Selector.anchors`."""
        return count - math.floor(count * self.contextual_share)
