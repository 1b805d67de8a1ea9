"""Resampling with and without replacement, for the bootstrap and for the sample-size curve.

Both functions return indices into the samples, so that everything measured on one sample stays together.
"""

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 200
"""Number of bootstrap resamples; the standard error of a share of them is at most 0.035."""

Indices = NDArray[np.int64]


def with_replacement(samples: int, seed: int, draws: int = RESAMPLES) -> Indices:
    """Bootstrap indices (Efron, 1979): (draws, samples), each uniform in 0..samples-1."""
    return np.random.default_rng(seed).integers(samples, size=(draws, samples))


def without_replacement(samples: int, size: int, seed: int, draws: int) -> Indices:
    """Indices of random subsets: (draws, size), the first `size` of a random order in each draw."""
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(samples), (draws, 1)), axis=1)
    return orders[:, :size]
