"""Step `token removal`: how many visual tokens could leave after each layer, for FitPrune."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from halfv_core.methods import Measured
from probe.analyzers.token_removal import token_removal
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.steps.method_step import MethodStep
from probe.calibration.steps.step import Item, ProbedModel
from probe.data.samples import Sample


@dataclass(frozen=True)
class TokenRemoval(MethodStep):
    """Measures the schedules of every sample; the result is their mean."""

    name = "token removal"

    def measure(self, model: ProbedModel, sample: Sample) -> Item:
        return token_removal(model.model, model.inputs(sample), family=model.family).tolist()

    def combine(self, items: Mapping[str, Item]) -> Measured:
        if not items:
            return Measured()
        return Measured(removed=tuple(map(tuple, np.mean(list(items.values()), axis=0).tolist())))

    def cost(self, mean: MeanSample) -> float:
        # A pass, in which the attention of every layer is made once more, in float32 and without a fused kernel.
        return mean.inputs + 4 * mean.prefill
