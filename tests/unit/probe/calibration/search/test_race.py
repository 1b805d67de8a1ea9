"""The race: who leads at each cost, by a slow reference, and losses by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfv_core.plan import Keep, Plan
from probe.calibration.search.race import (
    BAND,
    FEW_GOALS,
    GOALS,
    PRIOR_SAMPLES,
    Entrant,
    Results,
    goals_up_to,
    leaders,
)


def entrant(number: int, ratio: float = 2.0, predicted: float = 0.0) -> Entrant:
    """One of many different plans."""
    plan = Plan((Keep(layer=1 + number, keep_ratio=0.5, selector="uniform"),))
    return Entrant(plan, ratio, predicted=predicted)


def slow_leaders(entrants: list[Entrant], loss: dict[str, float], goals: list[float], count: int) -> list[Entrant]:
    """Each place at each goal goes to the best that has none there yet."""
    found: list[Entrant] = []
    for goal in goals:
        left = [one for one in entrants if goal <= one.ratio < goal * BAND]
        for _ in range(min(count, len(left))):
            best = left[0]
            for one in left[1:]:
                if (loss[one.key], -one.ratio) < (loss[best.key], -best.ratio):
                    best = one
            left.remove(best)
            if best not in found:
                found.append(best)
    return found


fields = st.lists(st.tuples(st.floats(1.0, 7.0), st.sampled_from([0.0, 0.1, 0.2])), max_size=25)


@given(fields, st.integers(1, 4), st.lists(st.floats(1.0, 6.0), max_size=4))
def test_leaders_are_the_best_at_each_cost(field: list[tuple[float, float]], count: int, goals: list[float]) -> None:
    entrants = [entrant(number, ratio) for number, (ratio, _) in enumerate(field)]
    loss = {one.key: row[1] for one, row in zip(entrants, field, strict=True)}
    found = leaders(entrants, lambda one: loss[one.key], goals, count)
    assert found == slow_leaders(entrants, loss, goals, count)
    assert len(set(found)) == len(found) <= count * len(goals)


def test_a_bold_plan_that_was_lucky_drives_no_milder_one_out() -> None:
    mild, better, bold = entrant(0, 2.0), entrant(1, 2.1), entrant(2, 5.0)
    loss = {mild.key: 0.02, better.key: 0.01, bold.key: 0.0}
    assert leaders([bold, mild, better], lambda one: loss[one.key], (2.0, 5.0), 1) == [better, bold]


def test_ties_go_to_what_saves_more() -> None:
    first, cheap = entrant(0, 2.0), entrant(1, 2.2)
    assert leaders([first, cheap], lambda _: 0.0, (2.0,), 2) == [cheap, first]


def test_plans_are_told_apart_by_what_they_do() -> None:
    assert entrant(3).key == Entrant(entrant(3).plan, 9.0, method="fastv").key != entrant(4).key


def test_goals() -> None:
    assert goals_up_to(1.0) == ()
    assert goals_up_to(100.0) == GOALS
    few = GOALS.index(FEW_GOALS) + 1
    assert goals_up_to(FEW_GOALS) == GOALS[:few]
    assert goals_up_to(FEW_GOALS, 1.1) == (1.1, *GOALS[:few])
    assert goals_up_to(FEW_GOALS, 50.0) == (*GOALS[:few], 50.0)
    assert goals_up_to(FEW_GOALS, GOALS[0]) == GOALS[:few]


def mean(results: Results, one: Entrant, samples: list[int]) -> float:
    """The measured mean, without the prediction's share of the expected loss."""
    return results.loss(one, samples) * (len(samples) + PRIOR_SAMPLES) / len(samples)


def test_results_by_hand() -> None:
    results, ln2 = Results(np.array([1.0, 3.0, 0.5, 1.5])), math.log(2)
    one, other = entrant(0), entrant(1)
    results.add([one, other], [0, 1], np.array([[ln2, 0.0], [-5.0, 2 * ln2]]))
    assert results.runs == 4
    assert mean(results, one, [0, 1]) == pytest.approx(0.5 / 4)
    assert mean(results, other, [0, 1]) == pytest.approx(3 * 0.75 / 4)  # a gain makes up for nothing
    assert mean(results, other, [0]) == 0.0
    assert results.has(one, [1, 0]) and results.has(one, []) and not results.has(one, [0, 3])
    results.add([one], [2, 3], np.array([[9.0, ln2]]))
    assert results.runs == 6
    assert mean(results, one, [0, 1, 2, 3]) == pytest.approx((0.5 + 0.5 * (1 - math.exp(-9)) + 1.5 * 0.5) / 6)
    assert mean(results, one, [2]) == pytest.approx(1 - math.exp(-9))
    assert not results.has(entrant(2), [0])


@pytest.mark.parametrize("samples", [1, PRIOR_SAMPLES, 1000])
def test_a_prediction_counts_as_much_as_a_few_samples(samples: int) -> None:
    """So a plan that was lucky on few samples does not lead one that was expected to be better."""
    results = Results(np.ones(samples))
    lucky, expected = entrant(0, predicted=0.4), entrant(1, predicted=0.0)
    results.add([lucky, expected], range(samples), np.array([[0.0] * samples, [-math.log(0.9)] * samples]))
    share = samples / (samples + PRIOR_SAMPLES)
    losses = [results.loss(one, range(samples)) for one in (lucky, expected)]
    assert losses == pytest.approx([(1 - share) * 0.4, share * 0.1])
    assert (losses[0] < losses[1]) == (samples == 1000)


def test_a_sample_counts_once_however_often_it_ran() -> None:
    results, one = Results(np.ones(2)), entrant(0)
    results.add([one], [0], np.array([[1.0]]))
    results.add([one], [0, 1], np.array([[1.0, 0.0]]))
    assert results.runs == 2
