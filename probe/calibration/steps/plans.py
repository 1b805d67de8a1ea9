"""Step `plans`: whole plans around the stages that were found, from which one is taken."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from halfv_core.cost import DecoderShape
from halfv_core.plan import Plan
from halfv_core.records import PruningTest, Saturation, Stages
from probe.calibration.search import candidate_plans, pruning_tests_of
from probe.calibration.settings import Settings
from probe.calibration.steps.step import Item
from probe.calibration.steps.trial_step import TrialStep
from probe.trials.readings import Readings


class TriedPlans(NamedTuple):
    """What the plans do to the samples."""

    tests: tuple[PruningTest, ...]
    """Cheapest first."""
    plans: tuple[Plan, ...]
    readings: tuple[Readings, ...]
    """Of each of `plans`."""
    samples: tuple[str, ...]
    """Ids, in the order of the readings."""

    def changed_ids(self, plan: Plan) -> frozenset[str]:
        """Ids of the samples whose answer is another under the plan."""
        return changed_ids(self.readings[self.plans.index(plan)], self.samples)


def changed_ids(readings: Readings, samples: tuple[str, ...]) -> frozenset[str]:
    """Ids of the samples that do not agree."""
    return frozenset(name for name, agrees in zip(samples, readings.agrees, strict=True) if not agrees)


@dataclass(frozen=True)
class Plans(TrialStep[TriedPlans]):
    """All candidate plans on the samples."""

    name = "plans"
    budgeted = "before the step"
    work_field = "plans"
    cost_fields = ("plan",)

    settings: Settings
    shape: DecoderShape
    tokens: tuple[int, int]
    """Visual and text, of the mean prompt."""
    stages: Stages
    saturation: Saturation

    @cached_property
    def plans(self) -> tuple[Plan, ...]:
        return tuple(candidate_plans(self.stages, self.saturation, self.shape.layers, self.settings))

    def combine(self, items: Mapping[str, Item]) -> TriedPlans:
        readings = self.readings(items)
        tests = pruning_tests_of(self.plans, readings, self.shape, self.tokens, self.settings)
        return TriedPlans(tests, self.plans, readings, tuple(items))
