"""What fits into a budget, and the order in which work is dropped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfv_core.errors import DataError
from probe.calibration.budget.budget import MIN_SAMPLES, CostEstimates, Work, dropped_sentences, fit, parse_budget

COSTS = CostEstimates(
    sample=4.0, answer=1.0, surface=2.0, test=1.0, causes=5.0, search=6.0, plan=2.0, check=1.0, once=3.0, example=1.5
)
REQUESTED = Work(samples=80, held_out=20, tests=80, plans=80, certify=200, examples=6)
MINIMUM = REQUESTED.minimum()

counts = st.integers(0, 120)
amounts = st.floats(0.0, 1e4)
works = st.builds(
    lambda samples, held_out, further, shown: Work(
        samples, held_out, samples, samples, certify=further, examples=shown
    ),
    *[counts] * 4,
)
cost_estimates = st.builds(CostEstimates, *[amounts] * 10)


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
    fewer_proofs = fit(REQUESTED, MINIMUM, COSTS, COSTS.of(no_examples) - 1.0)
    assert fewer_proofs == no_examples._replace(certify=199)
    no_proofs = no_examples._replace(certify=0)
    no_search = fit(REQUESTED, MINIMUM, COSTS, COSTS.of(no_proofs) - 1.0)
    assert no_search == no_proofs._replace(search=False)
    no_causes = fit(REQUESTED, MINIMUM, COSTS, COSTS.of(no_search) - 1.0)
    assert no_causes == no_search._replace(causes=False)
    no_surface = fit(REQUESTED, MINIMUM, COSTS, COSTS.of(no_causes) - 1.0)
    assert no_surface == no_causes._replace(surface=False)
    fewer_cases = fit(REQUESTED, MINIMUM, COSTS, COSTS.of(no_surface) - 1.0)
    assert fewer_cases == no_surface._replace(tests=79, plans=79)
    fewest_cases = no_surface._replace(tests=MIN_SAMPLES, plans=MIN_SAMPLES)
    fewer_samples = fit(REQUESTED, MINIMUM, COSTS, COSTS.of(fewest_cases) - 1.0)
    assert fewer_samples == fewest_cases._replace(samples=79, held_out=20)
    least = Work(10, 10, 10, 10, surface=False, causes=False, search=False)
    assert fit(REQUESTED, MINIMUM, COSTS, 0.0) == MINIMUM == least


def test_every_unit_of_work_costs_its_estimate() -> None:
    work = Work(samples=2, held_out=3, tests=5, plans=7, certify=11, examples=13)
    held_out = (3 + 11) * (COSTS.answer + COSTS.check)
    tries = 5 * (COSTS.test + COSTS.causes) + 7 * (COSTS.plan + COSTS.search)
    rest = 2 * (COSTS.sample + COSTS.surface) + 13 * COSTS.example + COSTS.once
    assert COSTS.of(work) == held_out + tries + rest
    bare = work._replace(surface=False, causes=False, search=False)
    assert COSTS.of(work) - COSTS.of(bare) == 2 * COSTS.surface + 5 * COSTS.causes + 7 * COSTS.search


def test_what_a_method_measures_is_reduced_before_the_curves() -> None:
    requested = Work(samples=80, held_out=20, tests=0, plans=0, surface=False, causes=False, search=False, method=80)
    costs = COSTS._replace(method=7.0)
    assert costs.of(requested) - COSTS.of(requested._replace(method=0)) == 80 * 7.0
    fewer = fit(requested, requested.minimum(), costs, costs.of(requested) - 1.0)
    assert fewer == requested._replace(method=79)
    assert fit(requested, requested.minimum(), costs, 0.0) == requested._replace(samples=10, held_out=10, method=10)
    assert requested.limited_to(30).method == 30
    assert dropped_sentences(requested, fewer) == ("What the method needs was measured on 79 of 80 samples.",)


def test_few_samples_are_never_reduced() -> None:
    few = Work(samples=7, held_out=2, tests=7, plans=7)
    assert fit(few, few.minimum(), COSTS, 0.0) == few._replace(surface=False, causes=False, search=False)


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


def test_further_samples_that_cannot_be_measured_are_no_loss_to_the_budget() -> None:
    """One of 200 is bad; it is counted off the share, and the first further one takes its place there."""
    assert dropped_sentences(REQUESTED._replace(held_out=19), REQUESTED._replace(certify=199)) == ()


def test_sentences() -> None:
    assert dropped_sentences(REQUESTED, REQUESTED) == ()
    assert dropped_sentences(REQUESTED, MINIMUM) == (
        "What is kept is shown for 0 of 6 samples.",
        "What is proven rests on 10 of 220 held-out samples.",
        "Plans were not searched for in rounds; those that were predicted to be best were judged.",
        "Treatments of Stage III were tried only where it seems to begin, not at other layers.",
        "Marginal utility was not measured, so it settles no doubt about where Stage II begins.",
        "The treatments of Stage III ran on 10 of 80 samples.",
        "The plans were searched for and judged on 10 of 80 samples.",
        "The curves come from 10 of 80 samples.",
        "The plan was checked on 10 of the 20 samples kept apart.",
    )
