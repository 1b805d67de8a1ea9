"""Step `search`: one round of the search for plans."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from halfv_core.errors import ModelError, PlanError, UnsupportedError
from halfv_core.plan import Plan
from probe.calibration.steps.step import Item, ProbedModel, key_with_plans
from probe.calibration.steps.trial_step import TrialStep
from probe.capture.replay import Replay
from probe.data.samples import Sample
from probe.trials.answers import read_answer
from probe.trials.try_plans import under


@dataclass(frozen=True)
class SearchRound(TrialStep[NDArray[np.float64]]):
    """Tries the plans of one round; the result is (plans, samples), the falls in nats summed over the answer.

    A plan that cannot run on this model, because its selector needs what is not there, has NaN in its place: published
    methods and other selectors are proposals, which do not end a calibration.
    """

    name = "search"

    tried: tuple[Plan, ...]
    round: str
    """Name of the round, unique within a calibration."""

    @cached_property
    def key(self) -> str:
        return key_with_plans(f"{self.name} {self.round}", self.tried)

    @property
    def plans(self) -> tuple[Plan, ...]:
        return self.tried

    def measure(self, model: ProbedModel, sample: Sample) -> Item:
        case = self.answers[sample.id].case(model, sample)
        inputs = case.inputs()
        results: list[list[float | None]] = []
        replay = Replay(model.model, inputs, family=model.family, low_memory=model.low_memory)
        for plan in self.tried:
            try:
                with under(plan, case, replay, model.model, model.family):
                    reading = read_answer(model.model, inputs, case.answer)
            except (ModelError, PlanError, UnsupportedError):
                results.append([False, None])
            else:
                results.append([reading.agrees, case.log_likelihood - reading.log_likelihood])
        return results

    def combine(self, items: Mapping[str, Item]) -> NDArray[np.float64]:
        return self.falls(items)
