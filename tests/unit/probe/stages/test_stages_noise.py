"""Noise, a drop at the end, and flat or short curves: they neither move stages nor invent them."""

import numpy as np
import pytest

from probe.stages.detect import detect_stages
from tests.unit.probe.stages.test_detect import LAYERS, Array, corners, noisy

DRAWS = 50


def starts(visual: Array, share: float) -> list[int | None]:
    """Starts of Stage III in noisy copies of a curve; the noise is a share of the curve's range."""
    return [detect_stages(noisy(np.random.default_rng(seed), visual, share)).saturation_start for seed in range(DRAWS)]


@pytest.mark.parametrize("share", [0.01, 0.03, 0.05])
@pytest.mark.parametrize(
    ("name", "visual"),
    [
        ("falls all the way", -LAYERS),
        ("rises all the way", LAYERS),
        ("falls ever more slowly", np.exp(-LAYERS / 32)),
        ("falls ever faster", -(LAYERS**2)),
        ("falls and drops at the end", corners(32, (0, 2), (30, 1), (32, 0.3))),
        ("rises and drops at the end", corners(32, (0, 1), (30, 2), (32, 1.2))),
    ],
)
def test_noise_makes_no_stage_three_of_a_monotone_curve(name: str, visual: Array, share: float) -> None:
    assert starts(visual, share).count(None) >= 0.98 * DRAWS, name


@pytest.mark.parametrize("end", [1.9, 1.6, 1.2, 0.6])
def test_a_drop_at_the_end_below_the_minimum_moves_nothing(end: float) -> None:
    """Qwen-like: an early peak, the minimum at layer 19, and a last point that may fall below it."""
    points = ((0, 2.6), (2, 2.35), (5, 2.9), (12, 2.3), (19, 1.7), (20, 1.85), (21, 2.2), (27, 2.4), (28, end))
    assert set(starts(corners(28, *points), 0.01)) == {20}


@pytest.mark.parametrize("layers", [6, 8, 10, 12])
def test_short_curves_with_a_turn_or_a_floor(layers: int) -> None:
    lowest = layers // 2
    assert set(starts(corners(layers, (0, 2), (1, 2), (lowest, 1), (layers, 1.6)), 0.01)) == {lowest + 1}
    begins = layers // 3 + 1
    assert set(starts(corners(layers, (0, 2), (1, 2), (begins, 1), (layers, 1)), 0.01)) == {begins}


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_very_short_curves_have_no_stage_three(layers: int) -> None:
    assert set(starts(corners(layers, (0, 2), (1, 2), (2, 1), (layers, 1.2)), 0.01)) == {None}


@pytest.mark.parametrize("size", [1e-16, 1e-15, 1e-8])
def test_rounding_on_a_flat_curve_is_no_shape(size: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        visual, text = 1.2 + size * rng.standard_normal((2, 33))
        found = detect_stages(visual, text)
        assert found.saturation_start is None
        assert "text entropy shows no early collapse" in found.evidence["aggregation_start"]


TINY_NEXT = [2.14, 2.346, 1.804, 1.674, 1.661, 1.639, 1.655, 1.684, 1.684, 1.7, 1.745, 1.778, 1.812]
TINY_NEXT_TEXT = [2.098, 2.001, 1.883, 1.789, 1.72, 1.688, 1.671, 1.678, 1.655, 1.612, 1.476, 1.373, 1.328]


def test_a_collapse_late_in_a_short_model_is_seen_in_every_draw_of_samples() -> None:
    """Measured on 12 layers; the mean of 80 samples fluctuates by 0.003 nats or less from layer to layer."""
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        found = detect_stages(TINY_NEXT, TINY_NEXT_TEXT + 0.003 * rng.standard_normal(13))
        assert (found.aggregation_start, found.saturation_start) in {(3, 4), (4, 5)}
