"""Scores and what they prove, by hand and next to the functions that they stand on."""

from dataclasses import fields
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.calibration.scores import Judged, Scores
from probe.common.resamples import with_replacement
from probe.common.risk import proven_ratio, proves_ratio
from probe.trials.readings import Quality


def scores_of(kept: list[float], full: list[float]) -> Scores:
    drops = [1.0 - one for one in kept]
    return Scores(np.array(kept), np.array(full), np.array(kept) == np.array(full), np.array(drops))


def test_retention_is_a_ratio_of_sums_not_a_mean_of_ratios() -> None:
    found = scores_of([1.0, 0.3, 0.0, 0.5], [1.0, 0.6, 0.0, 0.0])
    assert found.retention == pytest.approx(1.8 / 1.6)  # answers can become better
    assert found.quality == Quality(0.5, pytest.approx((0.0 + 0.7 + 1.0 + 0.5) / 4))


def test_where_the_full_model_scores_nothing_nothing_is_lost() -> None:
    assert scores_of([0.0, 0.0], [0.0, 0.0]).retention == 1.0


def test_the_noise_floor_is_the_full_models_own_loss() -> None:
    """Under `likelihood`, a plan that loses no more than rounding does keeps everything."""
    floor = np.array([0.0, 0.02, 0.04])
    same = Scores(1 - floor, 1 - floor, np.ones(3, dtype=bool), np.zeros(3))
    judged = Judged(("a", "b", "c"), (same,), floor)
    assert judged.noise_floor == pytest.approx(0.02)
    assert same.retention == 1.0
    worse = Scores(1 - 2 * floor, 1 - floor, np.ones(3, dtype=bool), np.zeros(3))
    assert worse.retention == pytest.approx((3 - 0.12) / (3 - 0.06))


@pytest.mark.parametrize("floor", [None, np.zeros(0)])
def test_what_was_not_measured_has_no_floor(floor: np.ndarray | None) -> None:
    assert not Judged((), (), floor).noise_floor


def test_changed_answers_are_named() -> None:
    first, second = scores_of([1.0, 0.5, 0.0], [1.0, 1.0, 1.0]), scores_of([1.0] * 3, [1.0] * 3)
    judged = Judged(("a", "b", "c"), (first, second), None)
    assert (judged.changed_ids(0), judged.changed_ids(1)) == ({"b", "c"}, set())


grades = st.integers(0, 100).map(lambda hundredths: hundredths / 100)
pairs = st.lists(st.tuples(grades, grades), min_size=1, max_size=12)


@given(pairs, st.floats(0.01, 1.0))
def test_the_share_of_resamples_is_counted_one_by_one(rows: list[tuple[float, float]], target: float) -> None:
    kept, full = map(list, zip(*rows, strict=True))
    found = scores_of(kept, full)
    reached = [
        found.in_order(draw).kept.sum() >= target * found.in_order(draw).full.sum()
        for draw in with_replacement(len(rows), 3)
    ]
    assert found.reaching_share(target, 3) == pytest.approx(np.mean(reached), abs=0.006)  # sums in another order


@given(pairs, st.randoms(use_true_random=False))
def test_another_order_moves_everything_together(rows: list[tuple[float, float]], random: Random) -> None:
    kept, full = map(list, zip(*rows, strict=True))
    order = list(range(len(rows)))
    random.shuffle(order)
    found, moved = scores_of(kept, full), scores_of(kept, full).in_order(order)
    for field in fields(found):
        assert getattr(moved, field.name).tolist() == [getattr(found, field.name).tolist()[index] for index in order]
    assert moved.retention == pytest.approx(found.retention)


def test_what_is_proven_is_what_the_bet_proves() -> None:
    found = scores_of([1.0] * 290 + [0.0] * 10, [1.0] * 300).in_order(np.random.default_rng(0).permutation(300))
    assert found.proven() == proven_ratio(found.kept, found.full)
    assert found.proven(0.99) < found.proven() < found.retention
    for target in (0.9, 0.97):
        assert found.proves(target) == proves_ratio(found.kept, found.full, target) == (target == 0.9)
