"""CostEstimator: predicts the cost of the steps still to come from what is known so far.

Each step estimates its own cost per sample (`Step.cost`). Which plans the search will run is not known; they are taken
to prune to a quarter of the tokens after a quarter of the layers, and to freeze the others from the middle on. Onsets
of the three treatments, likewise, are taken to be three neighbours in the middle of the layers that are tried.
"""

from dataclasses import replace

from halfv_core.cost import DecoderShape
from halfv_core.plan import Freeze, Keep, Plan
from probe.calibration.budget.budget import CostEstimates
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.choose_plan import MILDER
from probe.calibration.method_plan import Given, measuring_cost
from probe.calibration.settings import Settings
from probe.calibration.steps.causal_curves import CausalCurves, CausalCurvesAt
from probe.calibration.steps.curves import Curves
from probe.calibration.steps.examples import Examples
from probe.calibration.steps.held_out_answers import HeldOutAnswers
from probe.calibration.steps.held_out_check import HeldOutCheck
from probe.calibration.steps.plans import Plans
from probe.calibration.steps.search_round import SearchRound
from probe.calibration.steps.self_checks import SelfChecks
from probe.calibration.steps.step import Item
from probe.calibration.steps.utility import MarginalUtility

SEARCHED = 30
"""Plans that the search runs, divided by the samples of the search and of the choice."""
JUDGED = 12
"""Plans that are judged, likewise."""
RESAMPLING = 1.0
"""Seconds for the uncertainty, which runs no model."""


class CostEstimator:
    """Returns the current estimates when called; every new finding refines them."""

    def __init__(self, settings: Settings, shape: DecoderShape) -> None:
        self._settings = settings
        self._shape = shape
        self._items: list[Item] = []

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
        causal = CausalCurves({}, shape.layers, settings.top_share, None, first=shape.first_ranked)
        treatments = replace(causal, everywhere=False).cost(mean)
        gaps = _typical_gaps(causal.starts)
        between = CausalCurvesAt({}, shape.layers, settings.top_share, gaps).cost(mean) if gaps else 0.0
        typical = _typical_plan(shape.layers)
        return CostEstimates(
            sample=Curves(settings.entropy_k, settings.max_new_tokens).cost(mean),
            answer=HeldOutAnswers(settings.max_new_tokens).cost(mean),
            surface=MarginalUtility({}, settings, shape, tokens).cost(mean),
            test=treatments,
            causes=causal.cost(mean) - treatments + between,
            search=SearchRound({}, (typical,) * SEARCHED, "").cost(mean),
            plan=Plans({}, (typical,) * JUDGED, "graded", settings.max_new_tokens).cost(mean),
            check=HeldOutCheck({}, (typical,) * (MILDER + 1), "graded", settings.max_new_tokens).cost(mean),
            once=SelfChecks(settings.entropy_k).cost(mean) + RESAMPLING,
            example=Examples({}, Plan(()), (), settings.max_new_tokens).cost(mean),
            method=measuring_cost(settings.method or "", Given({}, shape, settings.retention), mean),
            kl=mean.kl,
        )


def _typical_plan(layers: int) -> Plan:
    keep = Keep(layer=max(1, layers // 4), keep_ratio=0.25, selector="uniform")
    return Plan((keep, Freeze(layers=range(max(1, layers // 2), layers))))


def _typical_gaps(tried: tuple[int, ...]) -> tuple[int, ...]:
    """The layers that are not tried before three onsets in the middle."""
    middle = len(tried) // 2
    low, high = tried[max(0, middle - 2)], tried[min(len(tried) - 1, middle + 1)]
    return tuple(layer for layer in range(low, high) if layer not in tried)
