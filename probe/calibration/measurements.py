"""Measurements: the curves of every sample, and their means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halfv_core.profile import Curve, Curves
from halfv_core.records import Sinks
from probe.stages.detect import KL_ROUNDING

Array = NDArray[np.float64]


@dataclass
class Measurements:
    """Curves of every sample: a few numbers per layer, so memory does not grow with the length of the prompts."""

    entropy_k: int
    visual: list[Array] = field(default_factory=list)
    """(L+1,) per sample, nats."""
    text: list[Array] = field(default_factory=list)
    joint: list[Array] = field(default_factory=list)
    kl: list[Array | None] = field(default_factory=list)
    """(L,) per sample, nats; None for a sample without a KL curve."""
    spectrum: list[Array] = field(default_factory=list)
    """(L+1, entropy_k) per sample."""
    visual_release: list[Array] = field(default_factory=list)
    """(L+1,) per sample, nats; empty unless requested."""
    visual_sinks: list[Array] = field(default_factory=list)
    """(3, L+1) per sample, the fields of `Sinks` in order."""
    text_sinks: list[Array] = field(default_factory=list)
    visual_tokens: list[int] = field(default_factory=list)
    text_tokens: list[int] = field(default_factory=list)

    def add(self, record: Mapping[str, Any]) -> None:
        """Add the curves and token counts of one sample, given by field name."""
        for name in ("visual", "text", "joint", "spectrum", "visual_release", "visual_sinks", "text_sinks"):
            if record[name] is not None:
                getattr(self, name).append(np.array(record[name], dtype=np.float64))
        self.kl.append(None if record["kl"] is None else np.array(record["kl"]))
        for name in ("visual_tokens", "text_tokens"):
            getattr(self, name).append(record[name])

    @property
    def mean_tokens(self) -> tuple[int, int]:
        """Visual and text tokens of the mean prompt."""
        return round(float(np.mean(self.visual_tokens))), round(float(np.mean(self.text_tokens)))

    @property
    def bytes_per_sample(self) -> int:
        """Memory that one sample takes, independent of the length of its prompt."""
        kinds = (self.visual, self.text, self.joint, self.kl_rows, self.spectrum, self.visual_sinks, self.text_sinks)
        return sum(rows[0].nbytes for rows in kinds)

    @property
    def kl_rows(self) -> list[Array]:
        """The KL curves that were measured, in the order of their samples."""
        return [row for row in self.kl if row is not None]

    def curves(self) -> Curves:
        """Mean and standard deviation over the samples."""
        spectrum = np.mean(self.spectrum, axis=0)  # (L+1, entropy_k)
        kl = np.stack(self.kl_rows)  # (samples with one, L)
        return Curves(
            visual=_curve(self.visual),
            text=_curve(self.text),
            joint=_curve(self.joint),
            kl=_curve(self.kl_rows),
            spectrum=tuple(tuple(row) for row in spectrum.tolist()),
            entropy_k=self.entropy_k,
            visual_release=_curve(self.visual_release) if self.visual_release else None,
            kl_typical=tuple(typical_kl(kl).tolist()),
            kl_samples=len(kl) if len(kl) < len(self.kl) else None,
            visual_sinks=_sinks(self.visual_sinks),
            text_sinks=_sinks(self.text_sinks),
        )


def typical_kl(rows: Array) -> Array:
    """The geometric mean of KL curves, exp(mean of ln max(KL, 1e-8)); 0 where all samples are below that.

    KL is heavy-tailed over samples: its mean is that of a few samples, which another draw does not have.

    Args:
        rows: (samples, L), nats.

    Returns:
        (L,), nats.
    """
    typical = np.exp(np.log(np.maximum(rows, KL_ROUNDING)).mean(0))
    return np.where((rows < KL_ROUNDING).all(0), 0.0, typical)


def _curve(samples: Sequence[Array]) -> Curve:
    stacked = np.stack(samples)  # (samples, points)
    return Curve(mean=tuple(stacked.mean(0).tolist()), std=tuple(stacked.std(0).tolist()))


def _sinks(samples: Sequence[Array]) -> Sinks:
    means = np.mean(samples, axis=0).tolist()  # (3, L+1)
    return Sinks(**dict(zip(Sinks.model_fields, map(tuple, means), strict=True)))
