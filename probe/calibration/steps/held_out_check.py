"""Step `held-out`: checks a plan on the held-out samples, on which it was not chosen."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from halfv_core.plan import Plan
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.steps.plans import changed_ids
from probe.calibration.steps.step import Item
from probe.calibration.steps.trial_step import TrialStep
from probe.trials.readings import Quality


class HeldOutResult(NamedTuple):
    """What a plan does to the held-out samples."""

    quality: Quality
    changed_ids: frozenset[str]
    """Ids of the samples whose answer differs under the plan."""


@dataclass(frozen=True)
class HeldOutCheck(TrialStep[HeldOutResult | None]):
    """Tries one plan; the result is None if there are no held-out samples."""

    name = "held-out"
    work_field = "held_out"
    cost_fields = ("check",)

    plan: Plan
    number: int = 0
    """Number of plans checked before this one."""

    @property
    def key(self) -> str:
        return f"{self.name} {self.number}"

    @property
    def plans(self) -> tuple[Plan, ...]:
        return (self.plan,)

    def combine(self, items: Mapping[str, Item]) -> HeldOutResult | None:
        if not items:
            return None
        (readings,) = self.readings(items)
        return HeldOutResult(readings.quality(), changed_ids(readings, tuple(items)))

    def cost(self, mean: MeanSample) -> float:
        # The plan is not known when this is estimated; a run through all layers is the upper bound.
        return mean.trial_seconds([Plan(())])
