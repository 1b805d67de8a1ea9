"""BudgetControl: holds a calibration to its budget while it runs, and notes what it decides.

A decision is a result like any other: it is noted under its step, and a run that goes on after having been stopped
keeps to it. So the samples and plans of a step are those that its noted results are of, however much time the second
run has. The budget is that of each run by itself; what is recalled costs nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from probe.calibration.budget.budget import CostEstimates, Work, dropped_sentences, fit
from probe.common.result_cache import ResultCache

MIN_BEFORE_DECIDING = 3
"""Samples that are measured before anything is decided."""

UNCHECKED_PLANS = "Plans that may keep enough answers were passed over, unchecked, for the one that changes least."


class BudgetControl:
    """`work` is what the calibration does; without a budget that is all that is asked for."""

    def __init__(
        self,
        budget: float | None,
        requested: Work,
        estimates: Callable[[], CostEstimates],
        cache: ResultCache,
        started: float,
    ) -> None:
        """Begin.

        Args:
            budget: seconds, or None.
            asked: all that is wanted.
            estimates: what is still to be done will cost, by what is known when it is called.
            cache: where decisions are noted.
            began: when the budget began to run, on the clock of `time.monotonic`.
        """
        self._budget = budget
        self._estimates = estimates
        self._cache = cache
        self._started = started
        self._requested = self._maximum = self.work = requested
        self._minimum = requested.minimum()
        self._plans_unchecked = False
        self._paid_costs: dict[str, float] = {}

    @property
    def dropped(self) -> tuple[str, ...]:
        """What was left out, a sentence each."""
        sentences = dropped_sentences(self._requested, self.work)
        return (*sentences, UNCHECKED_PLANS) if self._plans_unchecked else sentences

    def decide(self, step: str, measured: int = 0) -> Work:
        """What is done from this step on; called before it.

        Args:
            measured: samples whose curves are done, while others are still to come.
        """
        if self._budget is not None:
            self.work = Work(*self._cache(f"budget/{step}", lambda: list(self._fit(measured))))
        return self.work

    def has_enough(self, step: str, sample: str, measured: int) -> bool:
        """Whether `measured` samples of a step must do, before another sample is measured."""
        if self._budget is None or measured < MIN_BEFORE_DECIDING:
            return False
        return measured >= self.decide(f"{step}/{sample}", measured).samples

    def can_afford_check(self, number: int, seconds: Callable[[], float]) -> bool:
        """Whether one more plan can be checked on the samples kept apart, which no estimate has counted on."""
        if self._budget is None:
            return True
        fits = bool(self._cache(f"budget/held-out {number}", lambda: seconds() <= self._seconds_left()))
        self._plans_unchecked = self._plans_unchecked or not fits
        return fits

    def finish_step(
        self, paid_costs: Sequence[str], settled_work: Mapping[str, Any], bad_samples: Mapping[str, int] | None = None
    ) -> None:
        """A step is over.

        Args:
            spent: fields of `CostEstimates` that cost no more.
            settled: fields of `Work` that no later decision changes, and their values.
            bad_samples: by field of `Work`, how many samples could not be measured; those the budget did not drop.
        """
        self._paid_costs |= dict.fromkeys(paid_costs, 0.0)
        without_bad = {field: getattr(self._requested, field) - count for field, count in (bad_samples or {}).items()}
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
        return self._budget - (time.monotonic() - self._started)
