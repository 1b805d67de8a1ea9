"""The three stages that VisiPruner finds in a model, from how much single visual tokens turn the attention output.

    filter layer of a sample    the first layer l >= f with m_l < 0.995
    exit layer of a sample      the second layer after it with m_l >= 0.999
    middle stage                from the median filter layer on: a few visual tokens matter
    deep stage                  from the layer after the median exit layer on: none does

m_l: min over visual tokens j of cos(o - c_j, o) in layer l (`probe.analyzers.one_run.contribution`); f = 7 of 32
layers. A layer that is L, the number of layers, never comes. VisiPruner (arXiv 2510.17205, EMNLP 2025) states the rules
for one prompt, with these thresholds for LLaVA-1.5. As in its code, exit layers need not follow each other, as they do
in the paper. It asks at the exit only for tokens that its filter has kept, in a run without the others; here all visual
tokens of the full run count. Medians are the lower ones, with 95 % intervals over bootstrap resamples of the samples.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from probe.common.resamples import with_replacement

FILTER_BELOW = 0.995
"""A visual token matters if the output without it has a lower cosine with the output."""
EXIT_ABOVE = 0.999
"""No visual token matters if all outputs without one have at least this cosine."""
EXIT_LAYERS = 2
"""Layers in which none has to matter."""

_FIRST_PUBLISHED, _LAYERS_PUBLISHED = 7, 32
_DRAWS, _SEED, _CONFIDENCE = 1000, 0, 0.95

Layers = NDArray[np.int64]


class Boundary(NamedTuple):
    """Where a stage begins."""

    layer: int
    """Median over the samples; L if the stage does not begin."""
    low: int
    high: int
    """Ends of its 95 % interval."""
    share: float
    """Share of the samples in which the stage begins."""


class VisiPrunerStages(NamedTuple):
    """The stages of a model; the shallow one ends where the middle one begins."""

    middle: Boundary
    deep: Boundary


def first_asked(layers: int) -> int:
    """f: the layer at the same depth as layer 7 of 32, at which the method asks first, but not layer 0.

    A plan acts on the input of the next layer, which is what is brought to the same depth, as in the method's plan.
    """
    return max(1, round((_FIRST_PUBLISHED + 1) * layers / _LAYERS_PUBLISHED) - 1)


def filter_layers(min_cosines: ArrayLike, *, below: float = FILTER_BELOW, first: int | None = None) -> Layers:
    """The filter layer of each sample.

    Args:
        min_cosines: (samples, L).
        below: threshold.
        first: f, by default `first_asked(L)`.

    Returns:
        (samples,), L where no layer is one.
    """
    rows = np.asarray(min_cosines, dtype=np.float64)
    start = first_asked(rows.shape[1]) if first is None else first
    matters = (rows < below) & (np.arange(rows.shape[1]) >= start)
    found: Layers = np.where(matters.any(1), matters.argmax(1), rows.shape[1])
    return found


def exit_layers(
    min_cosines: ArrayLike, filtered: ArrayLike, *, above: float = EXIT_ABOVE, layers: int = EXIT_LAYERS
) -> Layers:
    """The exit layer of each sample.

    Args:
        min_cosines: (samples, L).
        filtered: (samples,), the filter layers.
        above: threshold.
        layers: how many layers have to reach it.

    Returns:
        (samples,), L where no layer is one.
    """
    rows = np.asarray(min_cosines, dtype=np.float64)
    idle = (rows >= above) & (np.arange(rows.shape[1]) > np.asarray(filtered)[:, None])
    reached = idle.cumsum(1) >= layers
    found: Layers = np.where(reached.any(1), reached.argmax(1), rows.shape[1])
    return found


def visipruner_stages(
    min_cosines: ArrayLike,
    *,
    filter_below: float = FILTER_BELOW,
    exit_above: float = EXIT_ABOVE,
    first: int | None = None,
) -> VisiPrunerStages:
    """The stages of a model from min cosines (samples, L) of at least one sample."""
    rows = np.asarray(min_cosines, dtype=np.float64)
    filtered = filter_layers(rows, below=filter_below, first=first)
    left = exit_layers(rows, filtered, above=exit_above)
    return VisiPrunerStages(
        _boundary(filtered, rows.shape[1]), _boundary(np.minimum(left + 1, rows.shape[1]), rows.shape[1])
    )


def _boundary(starts: Layers, layers: int) -> Boundary:
    resampled = starts[with_replacement(len(starts), _SEED, _DRAWS)]  # (draws, samples)
    medians = np.quantile(resampled, 0.5, axis=1, method="lower")
    low, high = np.quantile(medians, [(1 - _CONFIDENCE) / 2, (1 + _CONFIDENCE) / 2], method="nearest")
    median = np.quantile(starts, 0.5, method="lower")
    return Boundary(int(median), int(low), int(high), float((starts < layers).mean()))
