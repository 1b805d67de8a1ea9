"""Means over families and their bootstrap, against closed forms and a slow bootstrap that draws sample by sample."""

import random

import numpy as np
import pytest

from probe.common.statistics import DRAWS, bootstrap, by_family, family_mean, interval

FAMILIES = ["b", "a", "a", "a", "b"]
VALUES = [1.0, 0.0, 1.0, 1.0, 0.5]


def test_no_family_weighs_more_for_being_larger() -> None:
    assert by_family(VALUES, FAMILIES) == {"a": pytest.approx(2 / 3), "b": 0.75}
    assert list(by_family(VALUES, FAMILIES)) == ["a", "b"]
    assert family_mean(VALUES, FAMILIES) == pytest.approx((2 / 3 + 0.75) / 2)


def slow_bootstrap(values: list[list[float]], families: list[str], draws: int) -> np.ndarray:
    """The reference, (draws, variants), in plain loops."""
    generator, rows = random.Random(0), []
    members = {name: [at for at, family in enumerate(families) if family == name] for name in families}
    for _ in range(draws):
        chosen = {name: [generator.choice(group) for _ in group] for name, group in members.items()}
        means = [[sum(variant[at] for at in group) / len(group) for group in chosen.values()] for variant in values]
        rows.append([sum(row) / len(row) for row in means])
    return np.array(rows)


def test_draws_are_distributed_like_slow_ones() -> None:
    generator = np.random.default_rng(1)
    families = ["a"] * 30 + ["b"] * 10
    full = generator.random(40).round(2)
    values = [full.tolist(), (full * generator.random(40)).tolist()]
    fast, slow = bootstrap(values, families, draws=20000), slow_bootstrap(values, families, 4000)
    assert fast.shape == (20000, 2)
    assert fast.mean(0) == pytest.approx(slow.mean(0), abs=0.005)
    assert fast.std(0) == pytest.approx(slow.std(0), rel=0.06)
    assert np.corrcoef(fast.T)[0, 1] == pytest.approx(np.corrcoef(slow.T)[0, 1], abs=0.05)  # paired
    ratios = [interval(draws[:, 1] / draws[:, 0], families) for draws in (fast, slow)]
    assert ratios[0] == pytest.approx(ratios[1], abs=0.02)


def test_the_spread_of_a_mean_is_the_known_one() -> None:
    """The mean of n values with variance v has variance v / n; over two families, a quarter of the sum."""
    values, families = [[float(at % 2) for at in range(40)]], ["a"] * 20 + ["b"] * 20
    assert bootstrap(values, families, draws=20000).std() == pytest.approx((2 * 0.25 / 20) ** 0.5 / 2, rel=0.03)


def test_same_seed_same_draws() -> None:
    one, two, other = (bootstrap([VALUES], FAMILIES, seed=seed) for seed in (0, 0, 1))
    assert one.shape == (DRAWS, 1)
    assert (one == two).all() and (one != other).any()


def test_variants_that_grade_alike_keep_everything_in_every_draw() -> None:
    draws = bootstrap([VALUES, VALUES], FAMILIES)
    assert (draws[:, 0] == draws[:, 1]).all()
    assert interval(draws[:, 1] / draws[:, 0], FAMILIES) == (1.0, 1.0)


def test_an_interval_holds_its_share() -> None:
    assert interval(np.arange(1001.0), ["a", "a"]) == pytest.approx((25.0, 975.0))


@pytest.mark.parametrize("families", [["a"], ["a", "b", "c"]])
def test_single_samples_say_nothing_about_their_spread(families: list[str]) -> None:
    draws = bootstrap([[1.0] * len(families)], families)
    assert interval(draws[:, 0], families) is None


def test_an_undefined_ratio_has_no_interval() -> None:
    assert interval(np.array([1.0, np.nan]), ["a", "a"]) is None
    assert interval(np.array([1.0, np.inf]), ["a", "a"]) is None
