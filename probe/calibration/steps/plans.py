"""Step `plans`: judges the finalists of the search on samples that took no part in it; one of them is chosen."""

from dataclasses import dataclass

from probe.calibration.budget.budget import Work
from probe.calibration.steps.judging import JudgingStep


@dataclass(frozen=True)
class Plans(JudgingStep):
    """Scores the plans among which the choice is made."""

    name = "plans"
    budgeted = "before the step"
    work_field = "plans"
    cost_fields = ("plan",)
    always_with_floor = True

    proposing: int = 0
    """Number of samples that the plans were proposed on, which come before these and count towards the budget's."""

    def sample_count(self, work: Work) -> int:
        return max(1, work.plans - self.proposing)

    def settled_work(self, work: Work, measured: int) -> dict[str, int | bool]:
        return {"plans": work.plans}
