"""BudgetControl: keeps a running calibration within its budget, and records its decisions.

Decisions are stored in the journal like results, so a resumed run repeats them instead of deciding anew: each step has
the same samples and plans as the results already stored, however much time the second run has. The budget applies to
each run by itself; results read from the journal take no time.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from probe.calibration.budget.budget import CostEstimates, Work, dropped_sentences, fit
from probe.common.result_cache import ResultCache

MIN_BEFORE_DECIDING = 3
"""Samples that are measured before the first decision."""


class BudgetControl:
    """Decides how much work is done. `work` is the current decision; without a budget it is all the requested work."""

    def __init__(
        self,
        budget: float | None,
        requested: Work,
        estimates: Callable[[], CostEstimates],
        cache: ResultCache,
        started: float,
        processes: int = 1,
    ) -> None:
        """Start the control.

        Args:
            budget: seconds, or None for no limit.
            requested: all the work.
            estimates: returns the current estimate of the costs of each step.
            cache: stores the decisions.
            started: the start of the budget, on the clock of `time.monotonic`.
            processes: how many do the work together, each of which has all of the time.
        """
        self._processes = processes
        self._budget = budget
        self._estimates = estimates
        self._cache = cache
        self._started = started
        self._requested = self._maximum = self.work = requested
        self._minimum = requested.minimum()
        self._paid_costs: dict[str, float] = {}

    @property
    def dropped(self) -> tuple[str, ...]:
        """What was left out, one sentence each."""
        return dropped_sentences(self._requested, self.work)

    def decide(self, step: str, measured: int = 0) -> Work:
        """Decide how much is done from this step on; called before the step.

        Args:
            step: name under which the decision is stored.
            measured: samples whose curves are done, if more are still to come.
        """
        if self._budget is not None:
            self.work = Work(*self._cache(_name(step), lambda: list(self._fit(measured))))
        return self.work

    def has_decided(self, step: str, sample: str) -> bool:
        """Whether an earlier run decided before this sample."""
        return _name(f"{step}/{sample}") in self._cache

    def most(self, step: str, sample: str, measured: int) -> int | None:
        """How many samples a step measures at most, as decided before one of them; None while nothing limits it."""
        if self._budget is None or measured < MIN_BEFORE_DECIDING:
            return None
        return self.decide(f"{step}/{sample}", measured).samples

    def finish_step(
        self, paid_costs: Sequence[str], settled_work: Mapping[str, Any], bad_samples: Mapping[str, int]
    ) -> None:
        """Record that a step has finished.

        Args:
            paid_costs: fields of `CostEstimates` that cost nothing from now on.
            settled_work: fields of `Work` that later decisions must not change, with their values.
            bad_samples: field of `Work` -> number of samples that could not be measured; the budget did not drop them.
        """
        self._paid_costs |= dict.fromkeys(paid_costs, 0.0)
        without_bad = {field: getattr(self._requested, field) - count for field, count in bad_samples.items()}
        maximum, minimum, work = (
            amount._replace(**settled_work) for amount in (self._maximum, self._minimum, self.work)
        )
        self._requested, self._maximum, self._minimum, self.work = (
            amount.limited_to(work.samples)
            for amount in (self._requested._replace(**without_bad), maximum, minimum, work)
        )

    def _fit(self, measured: int) -> Work:
        return fit(
            self._maximum, self._minimum, self._estimates()._replace(**self._paid_costs), self._seconds_left(), measured
        )

    def _seconds_left(self) -> float:
        assert self._budget is not None
        return self._processes * (self._budget - (time.monotonic() - self._started))


def _name(step: str) -> str:
    """The name under which a decision is stored."""
    return f"budget/{step}"
