"""Means that no question family dominates, and how sure they are.

A mean is taken within each family, then over the families. The bootstrap redraws the samples of each family with
replacement (stratified), the same ones for every variant (paired), so that what all variants find hard cancels out.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

DRAWS = 2000
CONFIDENCE = 0.95


def by_family(values: Sequence[float], families: Sequence[str]) -> dict[str, float]:
    """Mean of each family, in alphabetical order."""
    groups: dict[str, list[float]] = defaultdict(list)
    for value, family in zip(values, families, strict=True):
        groups[family].append(value)
    return {family: sum(group) / len(group) for family, group in sorted(groups.items())}


def family_mean(values: Sequence[float], families: Sequence[str]) -> float:
    """Mean over the families, so that none weighs more for having more questions."""
    means = by_family(values, families)
    return sum(means.values()) / len(means)


def bootstrap(values: ArrayLike, families: Sequence[str], *, draws: int = DRAWS, seed: int = 0) -> Array:
    """Family means of redrawn samples.

    Args:
        values: (variants, samples).
        families: of each sample.

    Returns:
        (draws, variants).
    """
    table, names = np.asarray(values, dtype=np.float64), np.asarray(families)
    generator, found = np.random.default_rng(seed), []
    for name in sorted(set(families)):
        group = table[:, names == name]  # (variants, n)
        count = group.shape[1]
        times = generator.multinomial(count, np.full(count, 1 / count), size=draws)  # (draws, n): how often each
        found.append(times @ group.T / count)
    return np.mean(found, axis=0)  # type: ignore[no-any-return]


def interval(draws: Array, families: Sequence[str]) -> tuple[float, float] | None:
    """Percentile interval of (draws,) values; None where there is nothing to redraw, or a value is not defined.

    Args:
        families: of the samples that were redrawn.
    """
    if len(set(families)) == len(families) or not np.isfinite(draws).all():
        return None
    low, high = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
