"""Step `Stage III`: tries both treatments where Stage III begins and, for the report, on a grid of other layers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

from halfv_core.plan import Plan
from halfv_core.records import Saturation, Stages
from probe.analyzers.saturation import SaturationTrials
from probe.calibration.budget.budget import Work
from probe.calibration.grids import stage_three_grid
from probe.calibration.settings import Settings
from probe.calibration.steps.step import Item
from probe.calibration.steps.trial_step import TrialStep


@dataclass(frozen=True)
class StageThree(TrialStep[Saturation]):
    """Finds the saturation type from trials of the treatments."""

    name = "Stage III"
    budgeted = "before the step"
    work_field = "tests"
    cost_fields = ("test", "grid", "once")

    settings: Settings
    layers: int
    stages: Stages
    with_grid: bool = True
    """Whether treatments are tried beyond the two deciding trials."""

    @cached_property
    def trials(self) -> SaturationTrials:
        """The treatments to try."""
        starts, layers, shares = stage_three_grid(self.stages, self.layers, self.settings)
        return SaturationTrials.at(
            self.stages.saturation_start,
            layers,
            self.settings.top_share,
            starts=starts if self.with_grid else (),
            shares=shares,
        )

    @property
    def plans(self) -> tuple[Plan, ...]:
        return self.trials.plans

    def combine(self, items: Mapping[str, Item]) -> Saturation:
        return self.trials.saturation(self.readings(items), self.settings.thresholds, self.settings.seed)

    def sample_count(self, work: Work) -> int:
        return work.tests if self.plans else 0

    def reduced_to(self, work: Work) -> Self:
        return self if work.grid else replace(self, with_grid=False)

    def settled_work(self, work: Work, measured: int) -> dict[str, int | bool]:
        return {"tests": work.tests, "grid": work.grid}
