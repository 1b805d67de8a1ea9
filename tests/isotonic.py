"""Isotonic regression by its min-max formula, the slow reference of what fits monotone curves."""

from collections.abc import Sequence

import numpy as np


def rising(values: Sequence[float]) -> list[float]:
    """The rising sequence that is closest in the least-squares sense: max over j <= i of min over k >= i of a mean."""
    count = len(values)
    return [
        max(min(float(np.mean(values[first : last + 1])) for last in range(place, count)) for first in range(place + 1))
        for place in range(count)
    ]


def falling(values: Sequence[float]) -> list[float]:
    """The falling sequence that is closest."""
    return [-value for value in rising([-value for value in values])]
