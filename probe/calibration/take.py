"""Which of the plans that were tried is taken, by what it does to samples that it was not chosen on."""

import math
from collections.abc import Callable
from typing import NamedTuple

from halfv_core.plan import Plan
from halfv_core.records import PruningTest
from probe.calibration.search import in_question
from probe.calibration.settings import Settings
from probe.calibration.steps.held_out_check import HeldOutResult
from probe.calibration.steps.plans import TriedPlans
from probe.trials.readings import Quality


class TakenPlan(NamedTuple):
    """The plan, and what is known about it."""

    tests: tuple[PruningTest, ...]
    """All that was tried, cheapest first, with the agreement on the samples kept apart where that was checked."""
    plan: Plan
    unseen: Quality | None
    """On the samples kept apart; None without any."""
    changed: frozenset[str]
    """Ids of samples whose answer it changes: of those kept apart, or without any of those that it was chosen on."""


def take_plan(
    tried: TriedPlans,
    settings: Settings,
    check: Callable[[Plan, int], HeldOutResult | None],
    affords: Callable[[Plan, int], bool],
) -> TakenPlan:
    """HeldOutResult the plans that may be taken, the best first, until one keeps as many answers as is wanted.

    Without `target_retention` that is the first of them. The last, which changes least, is taken if none does.

    Args:
        check: of a plan, and of how many were checked before, on the samples kept apart; None without any.
        affords: whether there is time to check this plan, with its number among those in question, and the last one.
    """
    wanted = settings.target_retention or -math.inf
    checked: dict[int, Quality] = {}
    candidates = in_question(tried.tests, settings)
    for number, candidate in enumerate(candidates):
        last = candidate is candidates[-1]
        if checked and not last and not affords(candidate.plan, number):
            continue
        found = check(candidate.plan, len(checked))
        if found is None:
            return TakenPlan(tried.tests, candidate.plan, None, tried.changed(candidate.plan))
        checked[tried.tests.index(candidate)] = found.quality
        if last or found.quality.agreement >= wanted:
            tests = tuple(_with_agreement(test, checked.get(index)) for index, test in enumerate(tried.tests))
            return TakenPlan(tests, candidate.plan, found.quality, found.changed)
    raise AssertionError("the last candidate is always checked")


def _with_agreement(test: PruningTest, unseen: Quality | None) -> PruningTest:
    return test if unseen is None else test.model_copy(update={"held_out_agreement": unseen.agreement})
