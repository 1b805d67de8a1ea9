"""The groups of a prompt's tokens between which attention is cut."""

from typing import NamedTuple

import torch

from halfv_core.errors import DataError
from probe.capture.prompt_run import PromptRun

TEXT_SHARE = 0.1
"""Share of a prompt's tokens that is text behind the image, by which costs are estimated."""


class Groups(NamedTuple):
    """Masks (N,) bool on the CPU."""

    visual: torch.Tensor
    after: torch.Tensor
    """Text behind the first visual token, that between images included: all text that can see an image."""
    question: torch.Tensor
    """`after` without the last token."""
    last: torch.Tensor
    """The last token, which predicts the answer's first."""

    @classmethod
    def of(cls, run: PromptRun) -> "Groups":
        """The groups of a prompt.

        Raises:
            DataError: there is no visual token, or the prompt ends in one.
        """
        visual = run.visual
        if not visual.any() or visual[-1]:
            got = "no visual token" if not visual.any() else "a prompt that ends in an image"
            raise DataError("variants are made of an image followed by text", got=got)
        last = torch.zeros_like(visual)
        last[-1] = True
        after = ~visual & (visual.cumsum(0) > 0)
        return cls(visual, after, after & ~last, last)


def these(visual: torch.Tensor, some: torch.Tensor) -> torch.Tensor:
    """(N,) bool: those of the visual tokens with these indices among the V."""
    mask = torch.zeros_like(visual)
    mask[visual.nonzero()[:, 0][some]] = True
    return mask
