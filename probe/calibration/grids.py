"""The grid of layers and keep ratios of the marginal utility."""

from halfv_core.cost import DecoderShape
from probe.calibration.settings import Settings

GRID_RATIOS = 3
"""Number of keep ratios in the grid: the smallest of those to try."""


def utility_grid(shape: DecoderShape, settings: Settings) -> tuple[range, list[float]]:
    """Layers and keep ratios of the marginal utility: of the first third, those before which tokens can be ranked."""
    ratios = sorted(set(settings.keep_ratios) - {1.0})[:GRID_RATIOS]
    return range(shape.first_ranked, max(shape.first_ranked, shape.layers // 3) + 1), ratios
