"""Step `held-out`: what the held-out samples say about the plan, and about milder ones."""

from dataclasses import dataclass, replace

from halfv_core.plan import Plan
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.steps.judging import JudgingStep


@dataclass(frozen=True)
class HeldOutCheck(JudgingStep):
    """Scores the plans on the held-out samples."""

    name = "held-out"
    work_field = "held_out"
    cost_fields = ("check",)

    def cost(self, mean: MeanSample) -> float:
        # The plans are not known when this is estimated; a run through all layers is the upper bound.
        return super().cost(mean) if self.tried else replace(self, tried=(Plan(()),)).cost(mean)
