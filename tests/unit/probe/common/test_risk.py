"""Statements with confidence: against the formulas one by one, exactly over all outcomes, and by simulated draws."""

import math
from functools import partial
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from probe.common import risk
from probe.common.risk import (
    Array,
    certified_prefix,
    clopper_pearson,
    is_positive,
    log_capital,
    proven_ratio,
    proves_ratio,
    samples_to_prove,
)
from tests.populations import POPULATIONS, Population, binary, most_failures

ALL = pytest.mark.parametrize("population", POPULATIONS.values(), ids=POPULATIONS)


def slow_capital(values: list[float], lowest: float, highest: float, confidence: float) -> float:
    """The bet, one value after the other; the largest capital on the way."""
    capital, best = 1.0, 0.0
    variance, total, squares = 0.25, 0.5, 0.25
    for number, value in enumerate(values, 1):
        stake = math.sqrt(2 * math.log(1 / (1 - confidence)) / (len(values) * variance)) / (highest - lowest)
        capital *= 1 + min(stake, 0.99 / abs(lowest)) * value
        best = max(best, capital)
        scaled = (value - lowest) / (highest - lowest)
        total += scaled
        squares += (scaled - total / (number + 1)) ** 2
        variance = squares / (number + 1)
    return best


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=40),
    st.floats(-2, -0.01),
    st.floats(0.01, 2),
    st.sampled_from([0.5, 0.9, 0.99]),
)
def test_the_bet_follows_the_formula(shares: list[float], lowest: float, highest: float, confidence: float) -> None:
    values = [lowest + share * (highest - lowest) for share in shares]
    expected = slow_capital(values, lowest, highest, confidence)
    found = float(log_capital(values, lowest, highest, confidence))
    assert math.exp(found) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert bool(is_positive(values, lowest, highest, confidence)) == (found >= -math.log(1 - confidence))


def test_many_bets_at_once_are_the_single_ones() -> None:
    table = np.random.default_rng(0).uniform(-0.5, 1.0, (3, 2, 25))
    together = log_capital(table, -0.5, 1.0)
    assert together.shape == (3, 2)
    assert together.tolist() == [[float(log_capital(row, -0.5, 1.0)) for row in rows] for rows in table]
    assert log_capital(np.zeros((4, 0)), -1.0, 1.0).tolist() == [0.0] * 4


def test_a_capital_can_be_lost_almost_but_not_below_zero() -> None:
    assert np.isfinite(log_capital(np.full(500, -0.97), -0.97, 1.0))
    assert not is_positive(np.zeros(10_000), -0.97, 1.0)


@pytest.mark.parametrize("ratio", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("confidence", [0.8, 0.9])
def test_over_all_outcomes_the_false_statement_is_rare(ratio: float, confidence: float) -> None:
    """Answers that are right with exactly the probability in question: no simulation, every outcome is weighed."""
    right = np.array(list(product((0.0, 1.0), repeat=13)))
    probabilities = np.prod(np.where(right == 1.0, ratio, 1 - ratio), axis=1)
    false = probabilities[is_positive(right - ratio, -ratio, 1.0, confidence)].sum()
    assert 0.0 < false <= 1 - confidence + 1e-12


@ALL
@pytest.mark.parametrize("below", [0.0, 0.004], ids=["exactly at the target", "just below it"])
def test_a_ratio_that_is_not_kept_is_seldom_proven(population: Population, below: float) -> None:
    target, draws = min(1.0, population.retention + below), 2000
    kept, full = population.draw(np.random.default_rng(1), draws, 225)
    false = sum(proves_ratio(*pair, target) for pair in zip(kept, full, strict=True))
    assert false <= most_failures(draws)
    if below == 0.0 and population is POPULATIONS["right or wrong"]:
        assert false >= 0.03 * draws  # a bound that is never false would be needlessly weak


@pytest.mark.parametrize("samples", [20, 80, 400])
def test_so_with_few_and_with_many_samples(samples: int) -> None:
    for population in (binary(0.9), POPULATIONS["grades with gains and losses"]):
        kept, full = population.draw(np.random.default_rng(2), 1000, samples)
        false = sum(proves_ratio(*pair, population.retention) for pair in zip(kept, full, strict=True))
        assert false <= most_failures(1000)


@pytest.mark.parametrize("stratified", [False, True])
def test_so_with_families_of_unlike_difficulty(stratified: bool) -> None:
    """Families are drawn with the samples, or each has its fixed share of them, in random order."""
    generator, draws = np.random.default_rng(3), 1500
    families = binary(0.995, 0.9), binary(0.93, 0.5), POPULATIONS["grades with gains and losses"]
    means = [np.dot(table, one.probabilities) for one in families for table in (one.kept, one.full)]
    truth = sum(means[::2]) / sum(means[1::2])
    parts = [family.draw(generator, draws, 240) for family in families]
    kept, full = (np.stack([part[which] for part in parts], 2) for which in (0, 1))  # (draws, 240, families)
    family = generator.integers(3, size=(draws, 240))
    if stratified:
        family = generator.permuted(np.tile(np.arange(3), (draws, 80)), axis=1)
    chosen_kept, chosen_full = (np.take_along_axis(table, family[..., None], 2)[..., 0] for table in (kept, full))
    false = sum(proves_ratio(*pair, truth) for pair in zip(chosen_kept, chosen_full, strict=True))
    assert false <= most_failures(draws)


@ALL
def test_what_is_proven_is_a_lower_bound(population: Population, monkeypatch: pytest.MonkeyPatch) -> None:
    truth, draws = population.retention, 400
    near = [truth - 0.05, truth - 0.01, truth, truth + 0.01]
    monkeypatch.setattr(risk, "RATIOS", np.array(sorted({*np.linspace(0.0, 0.8, 9), *(min(1.0, x) for x in near)})))
    kept, full = population.draw(np.random.default_rng(4), draws, 225)
    proven = np.array([proven_ratio(*pair) for pair in zip(kept, full, strict=True)])
    assert (proven >= truth).sum() <= most_failures(draws)
    assert (proven > 0.5).all()


def test_a_mild_plan_is_proven_in_most_draws() -> None:
    kept, full = binary(0.995).draw(np.random.default_rng(5), 1000, 300)
    assert np.mean([proves_ratio(*pair, 0.97) for pair in zip(kept, full, strict=True)]) > 0.8
    kept, full = binary(0.995).draw(np.random.default_rng(6), 21, 300)
    bounds = [proven_ratio(*pair) for pair in zip(kept, full, strict=True)]
    assert 0.97 <= np.median(bounds) < 0.995


scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=12)


@settings(max_examples=20, deadline=None)
@given(scores)
def test_the_proven_ratio_is_where_the_sequence_ends(pairs: list[tuple[float, float]]) -> None:
    kept, full = np.array(pairs * 8).T
    expected = 0.0
    for step in range(1001):
        if not proves_ratio(kept, full, step / 1000):
            break
        expected = step / 1000
    assert proven_ratio(kept, full) == pytest.approx(expected)


def test_nothing_is_proven_by_nothing() -> None:
    none = np.zeros(0)
    assert not proves_ratio(none, none, 0.5)
    assert proven_ratio(none, none) == 0.0
    assert samples_to_prove(none, none, 0.5) is None


@given(st.integers(1, 400), st.sampled_from([0.5, 0.9, 0.95]))
def test_without_failures_clopper_pearson_has_a_closed_form(samples: int, confidence: float) -> None:
    assert clopper_pearson(0, samples, confidence) == pytest.approx(1 - (1 - confidence) ** (1 / samples))
    assert clopper_pearson(samples, samples, confidence) == 1.0


@given(st.integers(1, 200).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_clopper_pearson_inverts_the_binomial(case: tuple[int, int]) -> None:
    failures, samples = case
    assert binom.cdf(failures, samples, clopper_pearson(failures, samples)) == pytest.approx(0.1)


@pytest.mark.parametrize("share", [0.01, 0.03, 0.2, 0.5, 0.9])
def test_clopper_pearson_covers(share: float) -> None:
    outcomes = np.arange(41)
    below = [failures for failures in outcomes.tolist() if clopper_pearson(failures, 40) < share]
    assert binom.pmf(below, 40, share).sum() <= 0.1


@pytest.mark.parametrize(("failures", "samples"), [(0, 76), (1, 129), (2, 176), (3, 221), (4, 265)])
def test_sizes_that_certify_97_percent(failures: int, samples: int) -> None:
    assert clopper_pearson(failures, samples) <= 0.03 < clopper_pearson(failures, samples - 1)


def test_the_first_failure_ends_a_sequence() -> None:
    called: list[int] = []

    def test(number: int, result: bool) -> bool:
        called.append(number)
        return result

    results = [True, True, False, True]
    assert certified_prefix(partial(test, *one) for one in enumerate(results)) == 2
    assert called == [0, 1, 2]
    assert (certified_prefix([]), certified_prefix([lambda: True] * 3)) == (0, 3)


def share_proven(kept: Array, full: Array, target: float, samples: int) -> float:
    """Share of fresh draws in which so many samples prove the target."""
    draws = np.random.default_rng(7).integers(len(kept), size=(1500, samples))
    return float(np.mean([proves_ratio(kept[draw], full[draw], target) for draw in draws]))


@pytest.mark.parametrize(("losses", "target"), [(2, 0.97), (4, 0.95), (10, 0.8)])
def test_so_many_samples_prove_it_in_four_of_five_draws(losses: int, target: float) -> None:
    kept, full = np.ones(200), np.ones(200)
    kept[:losses] = 0.0
    needed = samples_to_prove(kept, full, target)
    assert needed is not None
    assert 0.72 <= share_proven(kept, full, target, needed) <= 0.95
    assert share_proven(kept, full, target, needed // 2) < 0.8


def test_what_no_number_of_samples_proves() -> None:
    kept, full = np.array([1.0] * 97 + [0.0] * 3), np.ones(100)
    assert samples_to_prove(kept, full, 0.97) is None  # not above
    assert samples_to_prove(kept, full, 0.969, limit=500) is None  # only with more
    assert samples_to_prove(np.zeros(5), np.zeros(5), 0.5) is None
    assert samples_to_prove(full, full, 0.0) == 16
