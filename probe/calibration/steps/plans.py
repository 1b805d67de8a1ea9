"""Step `plans`: tries whole plans around the detected stages; one of them is chosen afterwards."""

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
    """Results of all plans."""

    tests: tuple[PruningTest, ...]
    """One per plan, cheapest first."""
    plans: tuple[Plan, ...]
    readings: tuple[Readings, ...]
    """One per plan, in the order of `plans`."""
    samples: tuple[str, ...]
    """Sample ids, in the order of the readings."""

    def changed_ids(self, plan: Plan) -> frozenset[str]:
        """Ids of the samples whose answer differs under the plan."""
        return changed_ids(self.readings[self.plans.index(plan)], self.samples)


def changed_ids(readings: Readings, samples: tuple[str, ...]) -> frozenset[str]:
    """Ids of the samples whose answer differs from the full model's."""
    return frozenset(name for name, agrees in zip(samples, readings.agrees, strict=True) if not agrees)


@dataclass(frozen=True)
class Plans(TrialStep[TriedPlans]):
    """Tries all candidate plans on the samples."""

    name = "plans"
    budgeted = "before the step"
    work_field = "plans"
    cost_fields = ("plan",)

    settings: Settings
    shape: DecoderShape
    tokens: tuple[int, int]
    """Visual and text tokens of the mean prompt."""
    stages: Stages
    saturation: Saturation

    @cached_property
    def plans(self) -> tuple[Plan, ...]:
        return tuple(candidate_plans(self.stages, self.saturation, self.shape.layers, self.settings))

    def combine(self, items: Mapping[str, Item]) -> TriedPlans:
        readings = self.readings(items)
        tests = pruning_tests_of(self.plans, readings, self.shape, self.tokens, self.settings)
        return TriedPlans(tests, self.plans, readings, tuple(items))
