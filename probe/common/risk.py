"""Statements about a mean that hold with a stated confidence, whatever the distribution of the bounded values.

Betting (Waudby-Smith & Ramdas, 2023, arXiv 2010.09686): whoever bets against the hypothesis E[x] <= 0 with stakes that
depend on earlier values only multiplies the capital of 1 by

    K_n = prod_t (1 + s_t x_t),   s_t = min(sqrt(2 ln(1/a) / (n v_{t-1})), 0.99 / |lowest x|)

and, if the hypothesis is true, ever reaches the capital 1/a with a probability of at most a (Ville). v is the variance
of the values so far. The bet finds a mean above 0 with about half of the samples that an empirical Bernstein bound
needs. The order of the values matters to the stakes, so it must not depend on the values.

Clopper & Pearson (1934): the exact bound for values that are 0 or 1.

Fixed sequence (Learn then Test, Angelopoulos et al., 2021, arXiv 2110.01052): hypotheses are tested in an order that
was fixed before, each at the full level, and the first that is not rejected ends the sequence. Then the probability
that any rejected hypothesis was true is at most a, however many there are.
"""

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

CONFIDENCE = 0.9
"""Confidence of every statement, unless another is asked for."""
MAX_STAKE = 0.99
"""Share of the stake that would lose the whole capital at the lowest value."""
RATIOS = np.linspace(0.0, 1.0, 1001)
"""Retentions among which `proven_ratio` looks."""


def log_capital(values: ArrayLike, lowest: float, highest: float, confidence: float = CONFIDENCE) -> Array:
    """Logarithm of the largest capital that a bettor against E[values] <= 0 holds on the way.

    Args:
        values: (..., n) independent draws within [lowest, highest].
        lowest: below 0.
        highest: above 0.
        confidence: the stakes are best for this one, and valid for every other.

    Returns:
        (...), nats; E[values] > 0 is proven where it reaches -ln(1 - confidence).
    """
    table = np.asarray(values, dtype=np.float64)
    draws = np.arange(1, table.shape[-1] + 1)
    if not len(draws):
        return np.zeros(table.shape[:-1])
    scaled = (table - lowest) / (highest - lowest)  # (..., n), 0..1
    mean = (0.5 + scaled.cumsum(-1)) / (draws + 1)
    variance = (0.25 + ((scaled - mean) ** 2).cumsum(-1)) / (draws + 1)
    before = np.concatenate([np.full_like(variance[..., :1], 0.25), variance[..., :-1]], axis=-1)
    stakes = np.sqrt(-2 * math.log(1 - confidence) / (len(draws) * before))  # for the scaled values
    stakes = np.minimum(stakes / (highest - lowest), MAX_STAKE / -lowest)
    capital: Array = np.log1p(stakes * table).cumsum(-1).max(-1)
    return capital


def is_positive(values: ArrayLike, lowest: float, highest: float, confidence: float = CONFIDENCE) -> NDArray[np.bool_]:
    """Whether E[values] > 0 is proven; arguments as those of `log_capital`, result (...)."""
    return log_capital(values, lowest, highest, confidence) >= -math.log(1 - confidence)


def proves_ratio(kept: Array, base: Array, ratio: float, confidence: float = CONFIDENCE) -> bool:
    """Whether E[kept] > ratio * E[base] is proven.

    Args:
        kept, base: (n,) paired values 0..1.
        ratio: 0..1.
    """
    return bool(is_positive(kept - ratio * base, -max(ratio, 1e-3), 1.0, confidence))


def proven_ratio(kept: Array, base: Array, confidence: float = CONFIDENCE) -> float:
    """The largest ratio, to 0.001, such that E[kept] > ratio * E[base] is proven for it and all smaller ones.

    Args:
        kept, base: (n,) paired values 0..1.

    Returns:
        A lower confidence bound of E[kept] / E[base], 0..1; 0 if nothing is proven.
    """
    proven = 0.0
    for ratio in RATIOS.tolist():
        if not proves_ratio(kept, base, ratio, confidence):
            break
        proven = ratio
    return proven


def clopper_pearson(failures: int, samples: int, confidence: float = CONFIDENCE) -> float:
    """Upper confidence bound of the share of failures, from `failures` in `samples` draws, at least 1."""
    from scipy.stats import beta  # half a second to import

    return 1.0 if failures >= samples else float(beta.ppf(confidence, failures + 1, samples - failures))


def certified_prefix(tests: Iterable[Callable[[], bool]]) -> int:
    """How many of the tests, in their fixed order, succeed before the first one that does not; it ends the sequence."""
    count = 0
    for test in tests:
        if not test():
            break
        count += 1
    return count


def samples_to_prove(
    kept: Array, base: Array, ratio: float, confidence: float = CONFIDENCE, *, limit: int = 20_000, seed: int = 0
) -> int | None:
    """How many samples would prove the ratio in four of five draws, if future samples are like these.

    Args:
        kept, base: (n,) paired values 0..1 of the samples at hand.
        ratio: 0..1.
        limit: give up above so many.

    Returns:
        The number, to about a tenth; None if the ratio of these samples is not above `ratio`, or it takes too many.
    """
    if not len(kept) or kept.sum() <= ratio * base.sum():
        return None
    generator, count = np.random.default_rng(seed), 16
    while count <= limit:
        draws = generator.integers(len(kept), size=(100, count))
        if is_positive(kept[draws] - ratio * base[draws], -max(ratio, 1e-3), 1.0, confidence).mean() >= 0.8:
            return count
        count = math.ceil(count * 1.1)
    return None
