"""Drawing samples anew from those there are: what the bootstrap and the sample-size curve have in common.

Both give indices into the samples, so that everything measured on one sample stays together.
"""

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 200
"""Bootstrap resamples: a share of them is known to 0.035 (one standard error) or better."""

Indices = NDArray[np.int64]


def with_replacement(samples: int, seed: int, draws: int = RESAMPLES) -> Indices:
    """(draws, samples) indices, each uniform in 0..samples-1: the bootstrap (Efron, 1979)."""
    return np.random.default_rng(seed).integers(samples, size=(draws, samples))


def without_replacement(samples: int, size: int, seed: int, draws: int) -> Indices:
    """(draws, size) indices, the first `size` of a random order in each draw."""
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(samples), (draws, 1)), axis=1)
    return orders[:, :size]
