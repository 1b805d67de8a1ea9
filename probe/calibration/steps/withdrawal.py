"""Step `withdrawal`: what changes when all visual tokens leave at one layer, for VTW."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from halfv_core.methods import Measured
from probe.analyzers.withdrawal import withdrawal
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.steps.method_step import MethodStep
from probe.calibration.steps.step import Item, ProbedModel
from probe.data.samples import Sample


@dataclass(frozen=True)
class Withdrawal(MethodStep):
    """Measures the curve of every sample; the result is its mean."""

    name = "withdrawal"

    def measure(self, model: ProbedModel, sample: Sample) -> Item:
        return withdrawal(model.model, model.inputs(sample), family=model.family, low_memory=model.low_memory).tolist()

    def combine(self, items: Mapping[str, Item]) -> Measured:
        return Measured(withdrawal=tuple(np.mean(list(items.values()), axis=0).tolist())) if items else Measured()

    def cost(self, mean: MeanSample) -> float:
        # The visual tokens are not there, so this is an upper bound.
        return mean.inputs + (1 + mean.layers / 2) * mean.prefill
