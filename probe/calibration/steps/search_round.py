"""Step `search`: one round of the search for plans."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from halfv_core.plan import Plan
from probe.calibration.steps.step import Item, key_with_plans
from probe.calibration.steps.trial_step import TrialStep


@dataclass(frozen=True)
class SearchRound(TrialStep[NDArray[np.float64]]):
    """Tries the plans of one round; the result is (plans, samples), the falls in nats summed over the answer."""

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

    def combine(self, items: Mapping[str, Item]) -> NDArray[np.float64]:
        return self.falls(items)
