"""What fits into a budget, and the order in which work is dropped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfv_core.errors import DataError
from probe.calibration.budget.budget import MIN_SAMPLES, CostEstimates, Work, dropped_sentences, fit, parse_budget

COSTS = CostEstimates(
    sample=4.0, answer=1.0, surface=2.0, test=1.0, grid=5.0, plan=2.0, check=1.0, once=3.0, example=1.5
)
REQUESTED = Work(samples=80, held_out=20, tests=80, plans=80, examples=6)
MINIMUM = REQUESTED.minimum()

counts = st.integers(0, 120)
amounts = st.floats(0.0, 1e4)
works = st.builds(
    lambda samples, held_out, shown: Work(samples, held_out, samples, samples, examples=shown), counts, counts, counts
)
cost_estimates = st.builds(CostEstimates, *[amounts] * 9)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("300", 300.0),
        ("300s", 300.0),
        ("90 s", 90.0),
        ("5min", 300.0),
        ("5m", 300.0),
        ("1h30min", 5400.0),
        ("1h 30min 5s", 5405.0),
        ("2H", 7200.0),
        ("0.5min", 30.0),
        ("1min30", 90.0),
    ],
)
def test_durations_are_parsed(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize(
    "text", ["", " ", "soon", "0", "0min", "-5min", "5 parsecs", "5min1h", "1e3", "5min5min", "9" * 400]
)
def test_a_bad_duration_is_a_one_line_error(text: str) -> None:
    with pytest.raises(DataError, match="bad budget; got '.*'; expected a time above 0, as in 90s, 5min or 1h30min"):
        parse_budget(text)


def test_the_least_important_work_is_dropped_first() -> None:
    whole = COSTS.of(REQUESTED)
    assert fit(REQUESTED, MINIMUM, COSTS, whole) == REQUESTED
    fewer_examples = fit(REQUESTED, MINIMUM, COSTS, whole - 1.0)
    assert fewer_examples == REQUESTED._replace(examples=5)
    no_examples = REQUESTED._replace(examples=0)
    no_grid = fit(REQUESTED, MINIMUM, COSTS, COSTS.of(no_examples) - 1.0)
    assert no_grid == no_examples._replace(grid=False)
    no_surface = fit(REQUESTED, MINIMUM, COSTS, COSTS.of(no_grid) - 1.0)
    assert no_surface == no_grid._replace(surface=False)
    fewer_cases = fit(REQUESTED, MINIMUM, COSTS, COSTS.of(no_surface) - 1.0)
    assert fewer_cases == no_surface._replace(tests=79, plans=79)
    fewest_cases = no_surface._replace(tests=MIN_SAMPLES, plans=MIN_SAMPLES)
    fewer_samples = fit(REQUESTED, MINIMUM, COSTS, COSTS.of(fewest_cases) - 1.0)
    assert fewer_samples == fewest_cases._replace(samples=79, held_out=20)
    assert fit(REQUESTED, MINIMUM, COSTS, 0.0) == MINIMUM == Work(10, 10, 10, 10, False, False)


def test_what_a_method_measures_is_reduced_before_the_curves() -> None:
    requested = Work(samples=80, held_out=20, tests=0, plans=0, surface=False, grid=False, method=80)
    costs = COSTS._replace(method=7.0)
    assert costs.of(requested) - COSTS.of(requested._replace(method=0)) == 80 * 7.0
    fewer = fit(requested, requested.minimum(), costs, costs.of(requested) - 1.0)
    assert fewer == requested._replace(method=79)
    assert fit(requested, requested.minimum(), costs, 0.0) == requested._replace(samples=10, held_out=10, method=10)
    assert requested.limited_to(30).method == 30
    assert dropped_sentences(requested, fewer) == ("What the method needs was measured on 79 of 80 samples.",)


def test_few_samples_are_never_reduced() -> None:
    few = Work(samples=7, held_out=2, tests=7, plans=7)
    assert fit(few, few.minimum(), COSTS, 0.0) == few._replace(surface=False, grid=False)


def test_measured_samples_cost_nothing_more() -> None:
    assert COSTS.of(REQUESTED) - COSTS.of(REQUESTED, measured=30) == 30 * COSTS.sample


def test_only_the_first_samples_cost_a_kl_curve() -> None:
    costs, some = COSTS._replace(kl=20.0), REQUESTED._replace(kl=16)
    assert costs.of(some) - COSTS.of(some) == 16 * 20.0
    assert costs.of(some, measured=6) - COSTS.of(some, measured=6) == 10 * 20.0
    assert costs.of(some, measured=30) == COSTS.of(some, measured=30)
    few = some._replace(samples=12)
    assert costs.of(few) - COSTS.of(few) == 12 * 20.0
    assert some.minimum().kl == 16


@given(works, cost_estimates, amounts, counts)
def test_fitted_work_lies_between_minimum_and_requested(
    requested: Work, costs: CostEstimates, left: float, measured: int
) -> None:
    minimum = requested.minimum()
    found = fit(requested, minimum, costs, left, measured)
    assert all(0 <= low <= got <= high for low, got, high in zip(minimum, found, requested, strict=True))
    assert found == minimum or costs.of(found, measured) <= left


@given(works, cost_estimates, amounts, amounts)
def test_more_time_never_drops_what_less_time_keeps(
    requested: Work, costs: CostEstimates, one: float, two: float
) -> None:
    short, long = (fit(requested, requested.minimum(), costs, left) for left in sorted((one, two)))
    assert all(less <= more for less, more in zip(short, long, strict=True))


@given(works, works)
def test_each_reduction_is_one_sentence(requested: Work, done: Work) -> None:
    done = Work(*map(min, requested, done))
    assert len(dropped_sentences(requested, done)) == sum(
        kept < wanted for kept, wanted in zip(done, requested, strict=True)
    )


def test_sentences() -> None:
    assert dropped_sentences(REQUESTED, REQUESTED) == ()
    assert dropped_sentences(REQUESTED, MINIMUM) == (
        "What is kept is shown for 0 of 6 samples.",
        "Stage III's treatments were not tried beyond the two tests that decide.",
        "Marginal utility was not measured, so it settles no doubt about where Stage II begins.",
        "The tests of Stage III ran on 10 of 80 samples.",
        "The whole plans were tried on 10 of 80 samples.",
        "The curves come from 10 of 80 samples.",
        "The plan was checked on 10 of the 20 samples kept apart.",
    )
