"""MethodStep: base class of steps that measure what a published method needs before it has a plan."""

from dataclasses import dataclass
from typing import ClassVar

from halfv_core.methods import Measured
from probe.calibration.steps.step import Step


@dataclass(frozen=True)
class MethodStep(Step[Measured]):
    """One or several of these run if the plan is to be a method's, in the place of the tests of Stage III and of whole
    plans. Only the last one pays for the cost `method`."""

    budgeted = "before the step"
    work_field = "method"
    cost_fields: ClassVar[tuple[str, ...]] = ("method", "once")
