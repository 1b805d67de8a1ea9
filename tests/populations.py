"""Populations of paired scores whose true retention is known exactly, for simulations of statements about it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Population:
    """Pairs of scores, each with its probability."""

    kept: tuple[float, ...]
    """Under the plan, 0..1."""
    full: tuple[float, ...]
    """Without it, 0..1."""
    probabilities: tuple[float, ...]

    @property
    def retention(self) -> float:
        """E[kept] / E[full]."""
        return float(np.dot(self.kept, self.probabilities) / np.dot(self.full, self.probabilities))

    def draw(self, generator: np.random.Generator, *size: int) -> tuple[Array, Array]:
        """Independent pairs, (*size) each."""
        return self.at(generator.random(size))

    def at(self, places: Array) -> tuple[Array, Array]:
        """The pairs at these places, 0..1, of the population, the first pair of the list at the lowest ones."""
        chosen = np.searchsorted(np.cumsum(self.probabilities), places, side="right").clip(max=len(self.kept) - 1)
        return np.array(self.kept)[chosen], np.array(self.full)[chosen]


def binary(retention: float, accuracy: float = 1.0) -> Population:
    """Right or wrong answers; a plan spoils some of the right ones."""
    right = accuracy * retention
    return Population((1.0, 0.0, 0.0), (1.0, 1.0, 0.0), (right, accuracy - right, 1 - accuracy))


POPULATIONS = {
    "right or wrong": binary(0.97),
    "right or wrong, often wrong": binary(0.97, accuracy=0.6),
    "rare catastrophes": binary(0.996),
    "grades with gains and losses": Population(
        (1.0, 0.6, 0.3, 0.0, 0.6, 1.0), (1.0, 0.6, 0.6, 0.6, 0.3, 0.0), (0.4, 0.2, 0.15, 0.1, 0.1, 0.05)
    ),
    "as many gains as losses": Population((1.0, 0.0, 1.0, 0.0), (1.0, 0.0, 0.0, 1.0), (0.5, 0.4, 0.05, 0.05)),
    "almost always no loss": Population((1.0, 0.9, 0.2, 0.0), (1.0, 1.0, 1.0, 1.0), (0.96, 0.02, 0.01, 0.01)),
    "small losses everywhere": Population((0.97, 0.93, 0.99), (0.999, 1.0, 0.998), (0.4, 0.3, 0.3)),
}
"""By what they are like."""


def most_failures(draws: int, share: float = 0.1) -> int:
    """More failures than this happen with a probability below 0.001 if their true share is at most `share`."""
    return int(binom.ppf(0.999, draws, share))
