"""The choice of a plan: the best of the tried plans that also holds up on the held-out samples."""

import math
from collections.abc import Callable
from typing import NamedTuple

from halfv_core.plan import Plan
from halfv_core.records import PruningTest
from probe.calibration.search import eligible_tests
from probe.calibration.settings import Settings
from probe.calibration.steps.held_out_check import HeldOutResult
from probe.calibration.steps.plans import TriedPlans
from probe.trials.readings import Quality


class ChosenPlan(NamedTuple):
    """The plan, and what was measured about it."""

    tests: tuple[PruningTest, ...]
    """All plans tried, cheapest first; plans checked on the held-out samples carry their agreement there."""
    plan: Plan
    held_out_quality: Quality | None
    """The plan's quality on the held-out samples; None if there are none."""
    changed_ids: frozenset[str]
    """Ids of the samples whose answer the plan changes, among the held-out ones if there are any."""


def choose_plan(
    tried: TriedPlans,
    settings: Settings,
    check: Callable[[Plan, int], HeldOutResult | None],
    can_afford: Callable[[Plan, int], bool],
) -> ChosenPlan:
    """Check the eligible plans on the held-out samples, best first, until one keeps enough answers there.

    Without `target_retention`, the first plan checked is chosen. If no plan keeps enough answers, the last one is
    chosen.

    Args:
        check: measures a plan on the held-out samples, given the number of plans checked before; returns None if there
            are no held-out samples.
        can_afford: whether there is time to check both this plan, given its place among the eligible ones, and the last
            plan.
    """
    min_agreement = settings.target_retention or -math.inf
    checked: dict[int, Quality] = {}
    eligible = eligible_tests(tried.tests, settings)
    for number, candidate in enumerate(eligible):
        last = candidate is eligible[-1]
        if checked and not last and not can_afford(candidate.plan, number):
            continue
        result = check(candidate.plan, len(checked))
        if result is None:
            return ChosenPlan(tried.tests, candidate.plan, None, tried.changed_ids(candidate.plan))
        checked[tried.tests.index(candidate)] = result.quality
        if last or result.quality.agreement >= min_agreement:
            tests = tuple(_with_agreement(test, checked.get(index)) for index, test in enumerate(tried.tests))
            return ChosenPlan(tests, candidate.plan, result.quality, result.changed_ids)
    raise AssertionError("the last candidate is always checked")


def given_plan(plan: Plan, result: HeldOutResult | None) -> ChosenPlan:
    """A plan that is not the result of a search, with what the held-out samples say about it, if there are any."""
    if result is None:
        return ChosenPlan((), plan, None, frozenset())
    return ChosenPlan((), plan, result.quality, result.changed_ids)


def _with_agreement(test: PruningTest, quality: Quality | None) -> PruningTest:
    return test if quality is None else test.model_copy(update={"held_out_agreement": quality.agreement})
