"""Measurements: the curves of every sample, and their means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halfv_core.profile import Curve, Curves

Array = NDArray[np.float64]


@dataclass
class Measurements:
    """Curves of every sample: a few numbers per layer, so memory does not grow with the length of the prompts."""

    entropy_k: int
    visual: list[Array] = field(default_factory=list)
    """(L+1,) per sample, nats."""
    text: list[Array] = field(default_factory=list)
    joint: list[Array] = field(default_factory=list)
    kl: list[Array] = field(default_factory=list)
    """(L,) per sample, nats."""
    spectrum: list[Array] = field(default_factory=list)
    """(L+1, entropy_k) per sample."""
    visual_release: list[Array] = field(default_factory=list)
    """(L+1,) per sample, nats; empty unless requested."""
    visual_tokens: list[int] = field(default_factory=list)
    text_tokens: list[int] = field(default_factory=list)

    def add(self, record: Mapping[str, Any]) -> None:
        """Add the curves and token counts of one sample, given by field name."""
        for name in ("visual", "text", "joint", "kl", "spectrum", "visual_release"):
            if record[name] is not None:
                getattr(self, name).append(np.array(record[name]))
        for name in ("visual_tokens", "text_tokens"):
            getattr(self, name).append(record[name])

    @property
    def mean_tokens(self) -> tuple[int, int]:
        """Visual and text tokens of the mean prompt."""
        return round(float(np.mean(self.visual_tokens))), round(float(np.mean(self.text_tokens)))

    @property
    def bytes_per_sample(self) -> int:
        """Memory that one sample takes, independent of the length of its prompt."""
        arrays = (rows[0] for rows in (self.visual, self.text, self.joint, self.kl, self.spectrum))
        return sum(array.nbytes for array in arrays)

    def curves(self) -> Curves:
        """Mean and standard deviation over the samples."""
        spectrum = np.mean(self.spectrum, axis=0)  # (L+1, entropy_k)
        return Curves(
            visual=_curve(self.visual),
            text=_curve(self.text),
            joint=_curve(self.joint),
            kl=_curve(self.kl),
            spectrum=tuple(tuple(row) for row in spectrum.tolist()),
            entropy_k=self.entropy_k,
            visual_release=_curve(self.visual_release) if self.visual_release else None,
        )


def _curve(samples: Sequence[Array]) -> Curve:
    stacked = np.stack(samples)  # (samples, points)
    return Curve(mean=tuple(stacked.mean(0).tolist()), std=tuple(stacked.std(0).tolist()))
