"""The typical KL curve: what a geometric mean is, and that a few samples do not move it."""

import numpy as np
import pytest

from probe.calibration.decide import decide_stages
from probe.calibration.measurements import Measurements, typical_kl
from probe.stages.detect import KL_ROUNDING

LAYERS = 12


def collapsing(count: int) -> np.ndarray:
    """(count, 12): KL curves that fall from 1 to 1e-4 until layer 2, and whose last layer is exactly 0."""
    curve = np.array([1.0, 1e-2, *[1e-4] * (LAYERS - 3), 0.0])
    return np.tile(curve, (count, 1)) * np.exp(np.random.default_rng(0).normal(0, 0.5, (count, 1)))


def test_the_typical_value_is_the_geometric_mean() -> None:
    assert typical_kl(np.array([[1e-4], [1e-2]])) == pytest.approx([1e-3])
    rows = np.random.default_rng(1).lognormal(0, 2, (20, 5))
    assert typical_kl(rows) == pytest.approx(np.prod(rows, axis=0) ** (1 / 20))
    assert typical_kl(7 * rows) == pytest.approx(7 * typical_kl(rows))
    assert (typical_kl(rows) < rows.mean(0)).all()


def test_the_last_layer_stays_exactly_zero() -> None:
    assert typical_kl(np.array([[0.5, 0.0], [0.1, 0.0]]))[-1] == 0.0
    assert typical_kl(np.array([[KL_ROUNDING / 2], [-1e-12]])).tolist() == [0.0]


def test_values_below_rounding_count_as_rounding_beside_larger_ones() -> None:
    assert typical_kl(np.array([[0.0], [1e-2]])) == pytest.approx([np.sqrt(KL_ROUNDING * 1e-2)])


def test_one_sample_in_forty_does_not_move_stage_two() -> None:
    rows = collapsing(40)
    rows[7, 3:8] = 9.0  # on one sample, the layers until 7 matter
    flat = np.linspace(2, 1, LAYERS + 1)
    by_typical = decide_stages(flat, np.ones(LAYERS + 1), typical_kl(rows), None)
    by_mean = decide_stages(flat, np.ones(LAYERS + 1), rows.mean(0), None)
    assert by_typical.candidates["kl"] == 2
    assert by_mean.candidates.get("kl") != 2


def record(kl: np.ndarray | None, entropy: float, sinks: float) -> dict[str, object]:
    curve = [entropy] * (LAYERS + 1)
    points = {"visual": curve, "text": curve, "joint": curve, "spectrum": [[1.0]] * (LAYERS + 1)}
    rows = {group: [[sinks] * (LAYERS + 1), curve, curve] for group in ("visual_sinks", "text_sinks")}
    return {**points, **rows, "visual_release": None, "kl": kl, "visual_tokens": 4, "text_tokens": 3}


def test_kl_means_are_those_of_the_samples_that_have_one() -> None:
    rows, found = collapsing(2), Measurements(entropy_k=1)
    for kl, entropy, sinks in ((rows[0], 1.0, 0), (None, 2.0, 1), (rows[1], 3.0, 5)):
        found.add(record(kl, entropy, sinks))
    curves = found.curves()
    assert curves.kl.mean == pytest.approx(rows.mean(0).tolist())
    assert curves.kl_typical == pytest.approx(np.sqrt(rows[0] * rows[1]).tolist())
    assert (curves.kl_samples, curves.redundancy) == (2, curves.kl_typical)
    assert set(curves.visual.mean) == {2.0}
    assert curves.text_sinks is not None
    assert (curves.text_sinks.tokens[3], curves.text_sinks.norm_ratio[3], curves.text_sinks.entropy_without[3]) == (
        *(2.0, 2.0, 2.0),
    )
    assert [row is None for row in found.kl] == [False, True, False]


def test_all_samples_with_a_kl_curve_are_not_counted() -> None:
    found = Measurements(entropy_k=1)
    for row in collapsing(2):
        found.add(record(row, 1.0, 0))
    assert found.curves().kl_samples is None
