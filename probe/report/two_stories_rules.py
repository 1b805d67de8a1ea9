"""VisiPruner's rules as the page lets a reader set them; `parts/two_stories.js` computes the same."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from probe.analyzers.visipruner_stages import EXIT_ABOVE, EXIT_LAYERS, FILTER_BELOW, exit_layers, filter_layers

STEPS = 90
"""Numbers of two digits in a power of ten: steps of the sliders."""


class Rules(NamedTuple):
    """When VisiPruner filters visual tokens, and when it drops the rest; by default as published."""

    first: int
    """First layer that is asked."""
    filter_below: float = FILTER_BELOW
    exit_from: float = EXIT_ABOVE
    votes: int = EXIT_LAYERS
    """Layers after the filter that have to reach `exit_from`."""


class Split(NamedTuple):
    """VisiPruner's stages; the number of layers stands for never."""

    filters: list[int]
    """The filter layer of each sample."""
    exits: list[int]
    middle: int
    """First layer of the middle stage: the lower median of the filter layers."""
    deep: int
    """First layer of the deep stage: the one after the lower median of the exit layers."""


def split(cosines: Sequence[Sequence[float]], rules: Rules) -> Split:
    """VisiPruner's stages from the smallest cosine similarities, (samples, L), of at least one sample."""
    rows = np.array(cosines)
    filters = filter_layers(rows, below=rules.filter_below, first=rules.first)
    exits = exit_layers(rows, filters, above=rules.exit_from, layers=rules.votes)
    middle, left = (int(np.quantile(layers, 0.5, method="lower")) for layers in (filters, exits))
    return Split(filters.tolist(), exits.tolist(), middle, min(left + 1, rows.shape[1]))


def counts(layers: Sequence[int], of: int) -> list[int]:
    """How many samples have each of `of` layers, and at the end how many have none."""
    return [int(count) for count in np.bincount(layers, minlength=of + 1)]


def slider_position(threshold: float) -> int:
    """The step of a slider whose steps are the numbers 0.99, 0.98, ..., 0.1, 0.099, ... as distances from 1."""
    digits, exponent = f"{1 - threshold:.1e}".split("e")
    return STEPS * (-int(exponent) - 1) + 99 - round(10 * float(digits))
