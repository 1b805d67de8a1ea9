"""Uncertainty of the stages: the bootstrap against a slow reference, and cases that can be computed by hand."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfv_core.errors import DataError
from probe.calibration.measurements import Measurements
from probe.calibration.uncertainty import boundary_uncertainty, stage_uncertainty
from probe.common.resamples import with_replacement, without_replacement
from probe.stages.curve_shapes import Array
from probe.stages.detect import detect_stages
from tests.unit.probe.stages.test_detect import Drawn, corners, mistral, noisy, qwen

EARLY = Drawn(corners(12, (0, 2), (4, 1), (12, 1)), corners(12, (0, 4), (2, 2), (12, 2)), np.full(12, 1e-3))
LATE = Drawn(corners(12, (0, 1.5), (8, 1), (12, 1)), corners(12, (0, 4), (4, 2), (12, 2)), np.full(12, 1e-3))
FLAT = Drawn(np.full(13, 1.2), np.full(13, 0.7), np.full(12, 0.1))


def measurements_of(*samples: Drawn) -> Measurements:
    """The measurements after the step `Curves`."""
    found = Measurements(entropy_k=50)
    for sample in samples:
        found.visual.append(sample.visual)
        found.text.append(sample.text)
        found.kl.append(sample.kl)
    return found


def scattered(count: int, seed: int = 0) -> Measurements:
    """Samples whose Stage III is uncertain by more than a layer."""
    return measurements_of(*(mistral(np.random.default_rng((seed, index)), 0.2) for index in range(count)))


def stages_of(samples: list[Drawn], kl: Sequence[Array] | None = None) -> tuple[int, int | None]:
    visual, text, every_kl = zip(*samples, strict=True)
    kl = kl or every_kl
    product = np.prod([np.maximum(curve, 1e-8) ** (1 / len(kl)) for curve in kl], axis=0)
    found = detect_stages(sum(visual) / len(visual), sum(text) / len(text), product)
    return found.aggregation_start, found.saturation_start


@pytest.mark.parametrize("with_kl", [12, 5, 1])
def test_the_bootstrap_is_what_a_slow_one_gives(with_kl: int) -> None:
    """With few KL curves, a resample takes those of its samples, or all of them."""
    found = scattered(12)
    for index in range(0, 12, 3):  # so that Stage II depends on which samples a resample holds
        found.kl[index] = np.array([1.0, *np.logspace(-1, -4, 5), *[1e-4] * (len(found.visual[0]) - 7)])
    samples = [Drawn(*curves) for curves in zip(found.visual, found.text, found.kl, strict=True)]
    kl = [sample.kl for sample in samples[:with_kl]]
    found.kl[with_kl:] = [None] * (12 - with_kl)
    rows = np.random.default_rng(7).integers(12, size=(40, 12)).tolist()
    drawn = [[kl[index] for index in row if index < with_kl] for row in rows]
    assert any(not curves for curves in drawn) == (with_kl < 12)
    answers = [
        stages_of([samples[index] for index in row], curves or kl) for row, curves in zip(rows, drawn, strict=True)
    ]
    uncertainty = stage_uncertainty(found, seed=7, resamples=40)
    assert uncertainty.resamples == 40
    for boundary, won in zip(
        (uncertainty.aggregation_start, uncertainty.saturation_start), zip(*answers, strict=True), strict=True
    ):
        assert {winner.layer: round(40 * winner.share) for winner in boundary.wins} == Counter(won)
        in_order = sorted(won, key=lambda layer: 99 if layer is None else layer)
        assert (boundary.low, boundary.median, boundary.high) == (in_order[1], in_order[19], in_order[37])
    assert len(uncertainty.saturation_start.wins) > 2


def test_identical_samples_are_sure() -> None:
    sample = qwen(np.random.default_rng(0), 0.01)
    found = stage_uncertainty(measurements_of(*[sample] * 12))
    stages = detect_stages(*sample)
    for boundary, layer in (
        (found.aggregation_start, stages.aggregation_start),
        (found.saturation_start, stages.saturation_start),
    ):
        assert (boundary.low, boundary.median, boundary.high) == (layer, layer, layer)
        assert [(winner.layer, winner.share) for winner in boundary.wins] == [(layer, 1.0)]
    assert [size.samples for size in found.sample_sizes] == [1, 3, 6, 12]
    assert {(size.same, size.within_one) for size in found.sample_sizes} == {(1.0, 1.0)}
    assert found.enough
    assert found.verdict == (
        "12 samples were enough to place the stages: half of them put both at the same layers in 100% of 50 draws."
    )


def test_of_two_kinds_of_samples_each_wins_its_share() -> None:
    """Two samples have three resamples: the first twice, the second twice, or both, which is twice as likely."""
    expected = [(stages_of(kinds), share) for kinds, share in (([EARLY], 0.25), ([LATE], 0.25), ([EARLY, LATE], 0.5))]
    assert len({stages[1] for stages, _ in expected}) == 3
    found = stage_uncertainty(measurements_of(EARLY, LATE), resamples=400)
    won = {winner.layer: winner.share for winner in found.saturation_start.wins}
    assert won == pytest.approx({stages[1]: share for stages, share in expected}, abs=0.08)
    assert (found.saturation_start.low, found.saturation_start.high) == (min(won), max(won))


def test_the_interval_holds_the_true_layer_more_often_than_the_best_guess_is_right() -> None:
    curve = mistral(np.random.default_rng(5), 0.0).visual
    truth = detect_stages(curve).saturation_start
    assert truth is not None
    right, held = 0, 0
    for trial in range(20):
        rng = np.random.default_rng((trial, 9))
        samples = np.stack([noisy(rng, curve, 0.1) for _ in range(20)])
        right += detect_stages(samples.mean(0)).saturation_start == truth
        draws = with_replacement(20, trial, 40)
        found = boundary_uncertainty(detect_stages(samples[rows].mean(0)).saturation_start for rows in draws)
        held += (found.low or math.inf) <= truth <= (found.high or math.inf)
    assert held >= 18 and right <= 14


def test_two_samples_are_too_few_to_say() -> None:
    found = stage_uncertainty(measurements_of(EARLY, EARLY))
    assert [(size.samples, size.same) for size in found.sample_sizes] == [(1, 1.0), (2, 1.0)]
    assert not found.enough
    assert found.verdict.startswith("2 samples are too few to say")


def test_one_sample_is_refused() -> None:
    with pytest.raises(DataError, match="got 1; expected 2 samples or more"):
        stage_uncertainty(measurements_of(EARLY))


def test_flat_curves_surely_have_no_stage_three() -> None:
    found = stage_uncertainty(measurements_of(*[FLAT] * 10))
    assert [(winner.layer, winner.share) for winner in found.saturation_start.wins] == [(None, 1.0)]
    assert (found.saturation_start.low, found.saturation_start.high) == (None, None)
    assert found.sample_sizes[0].within_one == 1.0


def test_too_few_scattered_samples_are_told_so() -> None:
    found = stage_uncertainty(scattered(12))
    half, full = found.sample_sizes[-2:]
    assert (full.samples, full.same, full.within_one) == (12, 1.0, 1.0)
    assert half.same < 0.9 and not found.enough
    assert found.verdict.startswith("12 samples were not enough") and "calibrate on more samples" in found.verdict
    assert all(size.same <= size.within_one for size in found.sample_sizes)


def test_same_seed_same_answer_and_no_other() -> None:
    found = scattered(6)
    one, same, other = (stage_uncertainty(found, seed=seed, resamples=40) for seed in (3, 3, 4))
    assert one == same != other


def test_draws_without_replacement_repeat_nothing() -> None:
    draws = without_replacement(9, 4, seed=0, draws=30)
    assert draws.shape == (30, 4)
    assert all(len(set(row)) == 4 and set(row) <= set(range(9)) for row in draws.tolist())
    assert len({tuple(row) for row in draws.tolist()}) > 20


ANSWERS = st.lists(st.one_of(st.none(), st.integers(1, 6)), min_size=1, max_size=60)


@given(answers=ANSWERS, seed=st.integers(0, 99))
def test_any_answers_give_shares_and_an_interval_around_the_median(answers: list[int | None], seed: int) -> None:
    found = boundary_uncertainty(answers)
    assert sum(winner.share for winner in found.wins) == pytest.approx(1.0)
    assert all(winner.share > 0 for winner in found.wins)
    low, median, high = (math.inf if x is None else x for x in (found.low, found.median, found.high))
    assert low <= median <= high
    assert {found.low, found.median, found.high} <= set(answers)
    in_order = sorted(math.inf if answer is None else answer for answer in answers)
    assert low == in_order[math.ceil(len(answers) / 20) - 1]
    assert high == in_order[math.ceil(19 * len(answers) / 20) - 1]
    shuffled = np.random.default_rng(seed).permutation(len(answers))
    assert boundary_uncertainty([answers[index] for index in shuffled]) == found
