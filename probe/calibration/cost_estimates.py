"""CostEstimator: predicts the cost of the steps still to come from what is known so far.

Each step estimates its own cost per sample (`Step.cost`). Until the stages are found, Stage II is assumed to begin
after a third of the layers, and Stage III, with idle layers, after half.
"""

from halfv_core.cost import DecoderShape
from halfv_core.plan import Plan
from halfv_core.records import Saturation, Stages
from probe.calibration.budget.budget import CostEstimates
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.method_plan import measuring_step
from probe.calibration.settings import Settings
from probe.calibration.steps.curves import Curves
from probe.calibration.steps.examples import Examples
from probe.calibration.steps.held_out_answers import HeldOutAnswers
from probe.calibration.steps.held_out_check import HeldOutCheck
from probe.calibration.steps.plans import Plans
from probe.calibration.steps.self_checks import SelfChecks
from probe.calibration.steps.stage_three import StageThree
from probe.calibration.steps.step import Item
from probe.calibration.steps.utility import MarginalUtility

RESAMPLING = 1.0
"""Seconds for the uncertainty, which runs no model."""


class CostEstimator:
    """Returns the current estimates when called; every new finding refines them."""

    def __init__(self, settings: Settings, shape: DecoderShape) -> None:
        self._settings = settings
        self._shape = shape
        self._items: list[Item] = []
        self.stages = Stages(aggregation_start=shape.layers // 3, saturation_start=shape.layers // 2, evidence={})
        """As found, or assumed before that."""
        self.saturation = Saturation(
            type="layer_inactivity", reason="", tests=(), min_agreement=1.0, max_log_likelihood_drop=0.0
        )
        """As found, or assumed before that."""

    def add(self, item: Item) -> None:
        """Add an item of the step `Curves`."""
        self._items.append(item)

    @property
    def mean(self) -> MeanSample:
        """The mean of the samples so far, of which there must be at least one."""
        return MeanSample.of(self._items, self._shape.layers)

    def __call__(self) -> CostEstimates:
        """Expected seconds for each kind of work."""
        settings, shape, mean = self._settings, self._shape, self.mean
        tokens = mean.visual, mean.text
        stage_three = StageThree({}, settings, shape.layers, self.stages)
        deciding_tests = StageThree({}, settings, shape.layers, self.stages, with_grid=False).cost(mean)
        measuring = measuring_step(settings.method or "", {}, shape)
        return CostEstimates(
            sample=Curves(settings.entropy_k, settings.max_new_tokens).cost(mean),
            answer=HeldOutAnswers(settings.max_new_tokens).cost(mean),
            surface=MarginalUtility({}, settings, shape, tokens).cost(mean),
            test=deciding_tests,
            grid=stage_three.cost(mean) - deciding_tests,
            plan=Plans({}, settings, shape, tokens, self.stages, self.saturation).cost(mean),
            check=HeldOutCheck({}, Plan(())).cost(mean),
            once=SelfChecks(settings.entropy_k).cost(mean) + RESAMPLING,
            example=Examples({}, Plan(()), (), settings.max_new_tokens).cost(mean),
            method=0.0 if measuring is None else measuring.cost(mean),
            kl=mean.kl,
        )
