"""Means in which no question family dominates, and their bootstrap confidence intervals.

A mean is taken within each family, then over the families. The bootstrap resamples each family with replacement
(stratified) and draws the same samples for every variant (paired), so that difficulty shared by all variants cancels.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

DRAWS = 2000
"""Number of bootstrap resamples."""
CONFIDENCE = 0.95
"""Coverage of the intervals."""


def by_family(values: Sequence[float], families: Sequence[str]) -> dict[str, float]:
    """Mean of the values of each family, in alphabetical order of the families."""
    groups: dict[str, list[float]] = defaultdict(list)
    for value, family in zip(values, families, strict=True):
        groups[family].append(value)
    return {family: sum(group) / len(group) for family, group in sorted(groups.items())}


def family_mean(values: Sequence[float], families: Sequence[str]) -> float:
    """Mean of the families' means, so that a family with more questions carries no more weight."""
    means = by_family(values, families)
    return sum(means.values()) / len(means)


def bootstrap(values: ArrayLike, families: Sequence[str], *, draws: int = DRAWS, seed: int = 0) -> Array:
    """Bootstrap distribution of `family_mean`, stratified by family and paired over the variants.

    Args:
        values: (variants, samples).
        families: the family of each sample.
        draws: number of resamples.

    Returns:
        (draws, variants).
    """
    table, names = np.asarray(values, dtype=np.float64), np.asarray(families)
    generator, means = np.random.default_rng(seed), []
    for name in sorted(set(families)):
        group = table[:, names == name]  # (variants, n)
        count = group.shape[1]
        times = generator.multinomial(count, np.full(count, 1 / count), size=draws)  # (draws, n): how often each
        means.append(times @ group.T / count)
    return np.mean(means, axis=0)  # type: ignore[no-any-return]


def interval(draws: Array, families: Sequence[str]) -> tuple[float, float] | None:
    """Percentile interval of (draws,) bootstrap values.

    Args:
        families: the family of each resampled sample.

    Returns:
        (low, high), or None where no family has two samples to resample, or a value is not finite.
    """
    if len(set(families)) == len(families) or not np.isfinite(draws).all():
        return None
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
