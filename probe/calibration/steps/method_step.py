"""MethodStep: base class of steps that measure what a published method needs before it has a plan."""

from dataclasses import dataclass

from halfv_core.methods import Measured
from probe.calibration.steps.step import Step


@dataclass(frozen=True)
class MethodStep(Step[Measured]):
    """One of these runs if the plan is to be a method's, in the place of the tests of Stage III and of whole plans."""

    budgeted = "before the step"
    work_field = "method"
    cost_fields = ("method", "once")
