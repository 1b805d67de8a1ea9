"""Selector `clse`: attention, weighted by how much a token's fine detail changed since the input (CLSE, ECCV 2026).

The detail of a token is the magnitude of its hidden state after a high-pass filter over the image's grid of tokens. So
the first pruning of a plan needs the whole grid; later ones go by attention alone. It reads one row of attention, which
depends on the question, and two Fourier transforms of the grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from halfv_core.selectors.attended import best, last_attention
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch

CUTOFF = 0.1
"""Width of the filter, as a share of half the grid's shorter side."""
TEMPERATURE = 0.1


@SELECTORS.register("clse")
@dataclass(frozen=True)
class CLSE(PromptSelector):
    """Choose the tokens with the highest evolution score times attention of the last row, mean over heads."""

    evolution: bool = True
    """Whether attention is weighted by evolution. Only where nothing has been pruned before."""

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        attention = last_attention(prompt, "previous")
        if not self.evolution:
            return best(attention, count)
        first, now = prompt.hidden("input")[prompt.visual], prompt.hidden()[prompt.visual]
        return best(attention * evolution(detail(first, prompt.grids), detail(now, prompt.grids)), count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"previous", "input", "grids"} if self.evolution else {"previous"})


def detail(states: "torch.Tensor", grids: Sequence[tuple[int, int, int]]) -> "torch.Tensor":
    """What a Gaussian high-pass filter leaves of each token.

    Args:
        states: (V, D), image by image, each frame row by row.
        grids: (frames, height, width) of each image or video; each frame is filtered alone.

    Returns:
        (V,) float32: magnitude of the filtered states, mean over channels.
    """
    import torch

    from halfv_core.precision import widened

    parts = []
    for tokens, (frames, height, width) in zip(
        widened(states).split([frames * height * width for frames, height, width in grids]), grids, strict=True
    ):
        spectrum = torch.fft.fft2(tokens.view(frames, height, width, -1), dim=(1, 2))
        passed = high_pass(height, width, states.device)[..., None]
        filtered = torch.fft.ifft2(spectrum * passed, dim=(1, 2))
        parts.append(filtered.abs().mean(-1).flatten())
    return torch.cat(parts)


def high_pass(height: int, width: int, device: "torch.device") -> "torch.Tensor":
    """(h, w): 1 - exp(-f^2 / 2 c^2) at each frequency f; 0 at frequency 0 and else 1 for a grid too small for a c."""
    import torch

    vertical = torch.fft.fftfreq(height, 1 / height, device=device)
    horizontal = torch.fft.fftfreq(width, 1 / width, device=device)
    squared = vertical[:, None] ** 2 + horizontal**2
    cutoff = CUTOFF * min(height // 2, width // 2)
    return 1 - torch.exp(-squared / max(2 * cutoff**2, torch.finfo(squared.dtype).tiny))


def evolution(first: "torch.Tensor", now: "torch.Tensor") -> "torch.Tensor":
    """How much a token's detail changed, compared with the other tokens.

    Args:
        first: (V,) detail of the tokens at the input of layer 0.
        now: (V,) detail at the Keep's layer.

    Returns:
        (V,) in 0..1: the sigmoid of the standardised change, which is taken relative to the detail and at most 1.
    """
    import torch

    scale = (first.mean() + first).clamp_min(torch.finfo(first.dtype).tiny)
    change = ((now - first).abs() / scale).clamp_max(1.0)
    return torch.sigmoid((change - change.mean()) / (change.std() + 1e-6) / TEMPERATURE)
