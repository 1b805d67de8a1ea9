"""Spectral energy: how much of the visual tokens' variation over the image is fine detail.

    X_f = two-dimensional Fourier transform of the states over the grid of an image's tokens, channel by channel
    high  = sum_f g_f^2 |X_f|^2 / sum_f |X_f|^2         g_f = 1 - exp(-f^2 / 2 c^2),  c = 0.1 min(h // 2, w // 2)
    varying = the same without f = 0, the mean state, in the denominator
    short = share of the energy without f = 0 that is in waves shorter than 4 tokens

with f in cycles over the image, sums over frequencies, channels and images. g is the high-pass filter of CLSE (ECCV
2026), which takes the mean over channels of each token's filtered magnitude. That is on the scale of the model's hidden
states; a share of energy is not. The filter removes little more than the mean state (c = 1.2 on a grid of 24 x 24, less
on smaller ones), so `high` mostly says how much tokens differ at all, and `varying` is high for any tokens. `short`
does not depend on the size of the grid; of tokens that are shuffled over a large one it is 1 - pi / 16 = 0.80.

States are those after the model's final norm, which makes tokens about equally long: before it, the energy of a few
sinks hides all others. Unit: a share, 0..1. Cost: one Fourier transform of the visual tokens at every layer, on the
states of the shared run, in which the grids are recorded, too. Only where the family's grids are known: LLaVA-1.5,
LLaVA-NeXT without its newline tokens, Qwen2-VL, Qwen2.5-VL, Qwen3-VL.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from halfv_core.precision import no_autocast, widened
from halfv_core.selectors.clse import high_pass
from probe.analyzers.findings import AnyFinding, layer_series
from probe.analyzers.probe import PROBES, Item, Probe
from probe.capture.prompt_run import PromptRun

SHORT = 4
"""Waves shorter than so many tokens are fine detail."""

_GROUPS = {
    "high": "high-pass",
    "varying": "high-pass, without the mean state",
    "short": f"waves shorter than {SHORT} tokens, without the mean state",
}


def energy_shares(states: torch.Tensor, grids: Sequence[torch.Tensor]) -> torch.Tensor:
    """Shares of fine detail in the energy of one layer's visual tokens.

    Args:
        states: (V, D).
        grids: of each image, (frames, h, w) indices of its tokens; each frame is transformed alone.

    Returns:
        (3,) `high`, `varying` and `short`; the latter two are 0 if all tokens of each frame are the same.
    """
    with no_autocast(states.device):
        energies = sum(_energies(widened(states[grid.to(states.device)])) for grid in grids)
    assert isinstance(energies, torch.Tensor), "there is at least one grid"
    whole, varying, high, short = energies
    shares = torch.stack([high / whole, high / varying, short / varying])
    return shares.nan_to_num(0.0).clamp(0, 1).cpu()


def _energies(tokens: torch.Tensor) -> torch.Tensor:
    """(frames, h, w, D) -> (4,): all energy, without each frame's mean, and of that the high and the short waves."""
    # Identical tokens give exact zeros so, which the rounded mean alone would not.
    centred = tokens - tokens[:, :1, :1]
    centred -= centred.mean((1, 2), keepdim=True)
    height, width = tokens.shape[1:3]
    power = torch.fft.fft2(centred, dim=(1, 2)).abs().square().sum((0, 3)) / (height * width)
    passed = high_pass(height, width, tokens.device).square()
    vertical, horizontal = (torch.fft.fftfreq(size, device=tokens.device) for size in (height, width))
    short = (vertical[:, None].square() + horizontal.square()).sqrt() > 1 / SHORT
    return torch.stack([tokens.square().sum(), centred.square().sum(), (power * passed).sum(), power[short].sum()])


@PROBES.register("spectral_energy")
class SpectralEnergy(Probe):
    """Shares of fine detail by layer."""

    title = "How much fine detail visual tokens carry"
    question = "Do neighbouring visual tokens become alike or different through the layers?"
    records = frozenset({"grids"})

    def measure(self, run: PromptRun, looked: Sequence[Any], *, example: bool) -> Item:
        """(L+1, 3) shares; None if the grids are not known."""
        if run.grids is None:
            return None
        visual = run.visual.to(run.normed.device)
        return [energy_shares(states[visual], run.grids).tolist() for states in run.normed]

    def combine(self, items: Mapping[str, Item]) -> list[AnyFinding]:
        """Means over the samples whose grids are known."""
        shares = np.array([item for item in items.values() if item is not None])  # (samples, L+1, 3)
        if not len(shares):
            return []
        title = "Share of fine detail in the energy of visual tokens"
        return [
            layer_series(f"energy_{name}", shares[..., index], axis="states", title=title, group=group)
            for index, (name, group) in enumerate(_GROUPS.items())
        ]
