"""Distance of the mean curves of two calibrations, relative to the spread over samples, and similarity of their shape.

    distance      |a - b| / sqrt((s_a^2 + s_b^2) / 2) at each layer, with s the standard deviation over samples
    correlation   Spearman's rank correlation of the mean curves over layers

Curves of different depth are compared at the points of the shallower one, evenly spaced over the depth.
"""

from collections.abc import Iterator
from typing import Literal

import numpy as np

from halfv_core.records import Curve, Curves, Record
from probe.stages.curve_shapes import Array

CurveName = Literal["visual", "text", "joint", "kl"]


class CurvePair(Record):
    """Distance and similarity of two mean curves."""

    name: CurveName
    mean: float | None
    """Mean distance over layers; null if the curves differ at a layer where neither has any spread."""
    largest: float | None
    """Largest distance; null in the same case."""
    rank_correlation: float | None
    """-1..1; null if a curve is constant."""


def curve_distances(a: Curves, b: Curves) -> Iterator[CurvePair]:
    """Compare all four curves."""
    from scipy.stats import spearmanr  # most of a second to import

    names: tuple[CurveName, ...] = ("visual", "text", "joint", "kl")
    for name in names:
        curve_a: Curve = getattr(a, name)
        curve_b: Curve = getattr(b, name)
        points = min(len(curve_a.mean), len(curve_b.mean))
        (mean_a, std_a), (mean_b, std_b) = _resampled(curve_a, points), _resampled(curve_b, points)
        distance = _distance(mean_a - mean_b, np.sqrt((std_a**2 + std_b**2) / 2))
        constant = np.ptp(mean_a) == 0 or np.ptp(mean_b) == 0
        yield CurvePair(
            name=name,
            mean=None if distance is None else float(distance.mean()),
            largest=None if distance is None else float(distance.max()),
            rank_correlation=None if constant else float(spearmanr(mean_a, mean_b).statistic),
        )


def _resampled(curve: Curve, points: int) -> tuple[Array, Array]:
    """Interpolate mean and standard deviation to (points,) values, evenly spaced over the depth."""
    depths, measured_depths = np.linspace(0, 1, points), np.linspace(0, 1, len(curve.mean))
    return np.interp(depths, measured_depths, curve.mean), np.interp(depths, measured_depths, curve.std)


def _distance(difference: Array, spread: Array) -> Array | None:
    """(points,); 0 where equal curves have no spread, like KL at the last layer; None if different ones have none."""
    distance = np.abs(difference)
    if ((spread == 0) & (distance > 0)).any():
        return None
    return np.divide(distance, spread, out=np.zeros_like(distance), where=spread > 0)
