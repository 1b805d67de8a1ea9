"""Step `head importance`: what it costs to switch off each head of layer 0, for HAWK."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from halfv_core.cost import DecoderShape
from halfv_core.methods import Measured
from halfv_core.plan import Plan
from probe.analyzers.head_importance import head_importance
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.steps.answer import Answer
from probe.calibration.steps.method_step import MethodStep
from probe.calibration.steps.step import Item, ProbedModel
from probe.data.samples import Sample

HEAD_DIM = 128
"""Width of a head of most models, from which it is estimated how many there are."""


@dataclass(frozen=True)
class HeadImportance(MethodStep):
    """Measures every head on every sample; heads that cost nothing on average weigh nothing."""

    name = "head importance"

    answers: Mapping[str, Answer]
    """The full model's answers, by sample id."""
    shape: DecoderShape

    def measure(self, model: ProbedModel, sample: Sample) -> Item:
        case = self.answers[sample.id].case(model, sample)
        return head_importance(
            model.model, case.inputs(), case.answer, family=model.family, low_memory=model.low_memory
        )

    def combine(self, items: Mapping[str, Item]) -> Measured:
        """The mean drops as weights; none, which stands for equal weights, if no head costs anything."""
        drops = np.mean(list(items.values()), axis=0).clip(min=0.0) if items else np.zeros(0)
        return Measured(head_weights=tuple(drops.tolist()) if drops.any() else ())

    def cost(self, mean: MeanSample) -> float:
        heads = max(1, self.shape.query_width // HEAD_DIM)
        return mean.trial_seconds([Plan(())] * heads)
