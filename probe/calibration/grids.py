"""The grid of layers and keep ratios of the marginal utility."""

from probe.calibration.settings import Settings

GRID_RATIOS = 3
"""Number of keep ratios in the grid: the smallest of those to try."""


def utility_grid(layers: int, settings: Settings) -> tuple[range, list[float]]:
    """Layers and keep ratios of the marginal utility: the first third of the layers, without layer 0."""
    ratios = sorted(set(settings.keep_ratios) - {1.0})[:GRID_RATIOS]
    return range(1, max(1, layers // 3) + 1), ratios
