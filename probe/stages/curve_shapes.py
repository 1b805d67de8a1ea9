"""The shape of a curve over layers: its noise, its knee, its valley. Nothing here depends on what the curve measures.

    noise   1.4826 median|second difference| / sqrt(6)        small on a smooth curve, the spread of independent errors
    knee    the k that minimises sum (y_i - a - b i - c max(0, i - k))^2        two straight lines that meet at k
    valley  the least-squares fit that never rises before its minimum and never falls after it (isotonic regression)

Curves are scaled to 0..1 before fitting, so that a curve and its z-scores give exactly the same layers.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, Union

import numpy as np
from numpy.typing import NDArray

from halfv_core.errors import DataError

if TYPE_CHECKING:
    import torch

Array = NDArray[np.float64]
CurveLike = Union[Sequence[float], Array, "torch.Tensor"]

_TIE = 1e-12
"""Two fits of a 0..1 curve whose squared errors differ by less than this are equally good; the earlier one wins."""

_ROUNDING = 1e-6
"""Span, as a share of the largest value, below which a curve counts as constant, because of float32 rounding."""

_FLATTER = 0.25
"""After a knee the slope is at most this share of the slope before it."""


class Knee(NamedTuple):
    """The end of a fall that begins at the first point."""

    layer: int
    drop: float
    """Height of the fall on the fitted line."""


class _TwoLines(NamedTuple):
    error: float
    start: float
    """Value at the first point."""
    slope: float
    slope_after: float


def as_curve(name: str, values: CurveLike, points: int | None = None) -> Array:
    """Convert a curve to a float64 array.

    Args:
        name: what to call the curve in an error.
        points: required length.

    Raises:
        DataError: the values are not one-dimensional numbers, have the wrong length, or are not finite.
    """
    what = f"the {name} curve"
    numbers = values.detach().cpu().double().numpy() if hasattr(values, "detach") else values
    try:
        curve = np.asarray(numbers, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what} is not a row of numbers", got=f"{type(values).__name__} ({error})") from None
    if curve.ndim != 1:
        raise DataError(f"{what} is not a row of numbers", got=f"shape {curve.shape}", expected="one dimension")
    if points is not None and len(curve) != points:
        expected = f"{points}: entropies have one more than there are layers, kl has one a layer"
        raise DataError(f"{what} has the wrong number of points", got=len(curve), expected=expected)
    if not np.isfinite(curve).all():
        layer = int(np.flatnonzero(~np.isfinite(curve))[0])
        remedy = "measure again without the sample that gave it"
        raise DataError(f"{what} is not finite", got=f"{curve[layer]} at layer {layer}", remedy=remedy)
    return curve


def unit(curve: Array) -> Array:
    """The curve scaled to 0..1; all 0 if it is constant up to rounding."""
    span = np.ptp(curve)
    return (curve - curve.min()) / span if span > _ROUNDING * np.abs(curve).max() else np.zeros_like(curve)


def noise(curve: Array) -> float:
    """Standard deviation of the noise on a smooth curve, assuming independent errors at each point."""
    return float(1.4826 * np.median(np.abs(np.diff(curve, 2))) / 6**0.5) if len(curve) > 2 else 0.0


def knee(curve: Array, last: int) -> Knee | None:
    """The end of a fall that begins at the first point and then becomes much flatter.

    Args:
        last: largest index that may be the knee.

    Returns:
        The knee, or None if the curve does not begin with such a fall.
    """
    fits = [_two_lines(curve, index) for index in range(1, min(last, len(curve) - 2) + 1)]
    if not fits:
        return None
    index = 1 + _first_smallest([fit.error for fit in fits])
    fit = fits[index - 1]
    if fit.slope >= 0 or fit.slope_after < _FLATTER * fit.slope:
        return None
    drop = -fit.slope * index
    # At a sudden step the best knee may lie too late. The fall is over where less than half a layer of it is left.
    over = np.flatnonzero(curve[:index] <= fit.start - drop - 0.5 * fit.slope)
    return Knee(max(1, int(over[0])) if len(over) else index, drop)


def valley(curve: Array) -> Array:
    """The least-squares fit that does not rise before its minimum and does not fall after it."""
    fits = [_fall_then_rise(curve, turn) for turn in range(len(curve))]
    return fits[_first_smallest([float(((fit - curve) ** 2).sum()) for fit in fits])]


def _two_lines(curve: Array, index: int) -> _TwoLines:
    x = np.arange(len(curve), dtype=np.float64)
    design = np.stack([np.ones_like(x), x, np.maximum(0.0, x - index)], axis=1)  # (points, 3)
    weights = np.linalg.lstsq(design, curve, rcond=None)[0]
    start, slope, bend = weights.tolist()
    return _TwoLines(float(((design @ weights - curve) ** 2).sum()), start, slope, slope + bend)


def _fall_then_rise(curve: Array, turn: int) -> Array:
    from scipy.optimize import isotonic_regression  # half a second to import

    fall = isotonic_regression(curve[: turn + 1], increasing=False).x
    rise = isotonic_regression(curve[turn + 1 :]).x if turn + 1 < len(curve) else curve[:0]
    return np.concatenate([fall, rise])


def _first_smallest(errors: Sequence[float]) -> int:
    return next(i for i, error in enumerate(errors) if error <= min(errors) + _TIE)
