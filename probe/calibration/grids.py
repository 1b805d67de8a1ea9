"""The grids that a calibration tries for the record: which layers, which shares. Pure."""

import numpy as np

from halfv_core.records import Stages
from probe.calibration.settings import Settings

GRID_RATIOS = 3
"""Keep ratios of the marginal utility's grid: the smallest of those that are tried."""
GRID_STARTS = 5
"""Layers from which on the treatments of Stage III are tried, beside the one where it was found to begin."""


def utility_grid(layers: int, settings: Settings) -> tuple[range, list[float]]:
    """Layers and keep ratios of the marginal utility: the first third of the layers, after the first; no ratio may."""
    ratios = sorted(set(settings.keep_ratios) - {1.0})[:GRID_RATIOS]
    return range(1, max(1, layers // 3) + 1), ratios


def stage_three_grid(stages: Stages, layers: int, settings: Settings) -> tuple[list[int], int, list[float]]:
    """Start layers, number of layers and shares, as `treatment_grid` takes them."""
    first, last = min(stages.aggregation_start + 1, layers - 1), layers - 1
    starts = sorted(set(np.linspace(first, last, GRID_STARTS).round().astype(int).tolist()))
    return starts, layers, [settings.top_share, min(1.0, 3 * settings.top_share)]
