"""The grids of layers and keep ratios for the marginal utility and for the treatments of Stage III."""

import numpy as np

from halfv_core.records import Stages
from probe.calibration.settings import Settings

GRID_RATIOS = 3
"""Number of keep ratios in the grid of the marginal utility: the smallest of those to try."""
GRID_STARTS = 5
"""Number of start layers at which treatments of Stage III are tried, besides the one where Stage III was found."""


def utility_grid(layers: int, settings: Settings) -> tuple[range, list[float]]:
    """Layers and keep ratios of the marginal utility: the first third of the layers, without layer 0."""
    ratios = sorted(set(settings.keep_ratios) - {1.0})[:GRID_RATIOS]
    return range(1, max(1, layers // 3) + 1), ratios


def stage_three_grid(stages: Stages, layers: int, settings: Settings) -> tuple[list[int], int, list[float]]:
    """Start layers, number of layers and keep ratios, as `treatment_grid` takes them."""
    first, last = min(stages.aggregation_start + 1, layers - 1), layers - 1
    starts = sorted(set(np.linspace(first, last, GRID_STARTS).round().astype(int).tolist()))
    return starts, layers, [settings.top_share, min(1.0, 3 * settings.top_share)]
