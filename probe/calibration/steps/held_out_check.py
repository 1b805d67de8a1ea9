"""Step `held-out`: one plan on the samples kept apart, which it was not chosen on."""

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
    """What a plan does to samples that it was not chosen on."""

    quality: Quality
    changed_ids: frozenset[str]
    """Ids of the samples whose answer is another under the plan."""


@dataclass(frozen=True)
class HeldOutCheck(TrialStep[HeldOutResult | None]):
    """One plan; None where no samples were kept apart."""

    name = "held-out"
    work_field = "held_out"
    cost_fields = ("check",)

    plan: Plan
    number: int = 0
    """How many plans were checked before."""

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
        # Asked before it is known which plan; a run of all layers is the most that it can take.
        return mean.trial_seconds([Plan(())])
