"""TrialStep: base class of steps that score the full model's answer to a sample under several plans."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from halfv_core.plan import Plan
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.steps.answer import Answer
from probe.calibration.steps.step import Item, ProbedModel, Result, Step
from probe.data.samples import Sample
from probe.trials.readings import Readings
from probe.trials.try_plans import readings_of, try_on


@dataclass(frozen=True)
class TrialStep(Step[Result]):
    """Runs each sample once in full, and each plan from its first intervention on."""

    answers: Mapping[str, Answer]
    """The full model's answers, by sample id."""

    @property
    @abstractmethod
    def plans(self) -> tuple[Plan, ...]:
        """The plans to try."""

    def measure(self, model: ProbedModel, sample: Sample) -> Item:
        case = self.answers[sample.id].case(model, sample)
        return try_on(model.model, case, self.plans, model.family, low_memory=model.low_memory)

    def cost(self, mean: MeanSample) -> float:
        return mean.trial_seconds(self.plans)

    def readings(self, items: Mapping[str, Item]) -> tuple[Readings, ...]:
        """The readings of each plan, in the order of `plans`."""
        return readings_of(list(items.values()), len(self.plans))

    def falls(self, items: Mapping[str, Item]) -> NDArray[np.float64]:
        """(plans, samples), by how much the answer's log-likelihood falls, nats, summed over its tokens."""
        rows = [[fall for _, fall in item] for item in items.values()]
        per_token = np.array(rows, dtype=np.float64).reshape(-1, len(self.plans))
        tokens = np.array([len(self.answers[name].ids) for name in items], dtype=np.float64)
        return (per_token * tokens[:, None]).T
