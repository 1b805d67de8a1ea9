"""BudgetControl: holds a calibration to its budget while it runs, and notes what it decides.

A decision is a result like any other: it is noted under its step, and a run that goes on after having been stopped
keeps to it. So the samples and plans of a step are those that its noted results are of, however much time the second
run has. The budget is that of each run by itself; what is recalled costs nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from probe.calibration.budget.budget import CostEstimates, Work, fit, in_words
from probe.common.result_cache import ResultCache

FIRST = 3
"""Samples that are measured before anything is decided."""

PASSED_OVER = "Plans that may keep enough answers were passed over, unchecked, for the one that changes least."


class BudgetControl:
    """`work` is what the calibration does; without a budget that is all that is asked for."""

    def __init__(
        self,
        budget: float | None,
        asked: Work,
        estimates: Callable[[], CostEstimates],
        cache: ResultCache,
        began: float,
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
        self._began = began
        self._asked = self._most = self.work = asked
        self._least = asked.least()
        self._passed_over = False
        self._spent: dict[str, float] = {}

    @property
    def dropped(self) -> tuple[str, ...]:
        """What was left out, a sentence each."""
        sentences = in_words(self._asked, self.work)
        return (*sentences, PASSED_OVER) if self._passed_over else sentences

    def decide(self, step: str, measured: int = 0) -> Work:
        """What is done from this step on; called before it.

        Args:
            measured: samples whose curves are done, while others are still to come.
        """
        if self._budget is not None:
            self.work = Work(*self._cache(f"budget/{step}", lambda: list(self._fit(measured))))
        return self.work

    def enough(self, step: str, sample: str, measured: int) -> bool:
        """Whether `measured` samples of a step must do, before another sample is measured."""
        if self._budget is None or measured < FIRST:
            return False
        return measured >= self.decide(f"{step}/{sample}", measured).samples

    def affords_check(self, number: int, seconds: Callable[[], float]) -> bool:
        """Whether one more plan can be checked on the samples kept apart, which no estimate has counted on."""
        if self._budget is None:
            return True
        fits = bool(self._cache(f"budget/held-out {number}", lambda: seconds() <= self._left()))
        self._passed_over = self._passed_over or not fits
        return fits

    def finished(
        self, spent: Sequence[str], settled: Mapping[str, Any], bad_samples: Mapping[str, int] | None = None
    ) -> None:
        """A step is over.

        Args:
            spent: fields of `CostEstimates` that cost no more.
            settled: fields of `Work` that no later decision changes, and their values.
            bad_samples: by field of `Work`, how many samples could not be measured; those the budget did not drop.
        """
        self._spent |= dict.fromkeys(spent, 0.0)
        bad = {field: getattr(self._asked, field) - count for field, count in (bad_samples or {}).items()}
        most, least, work = (one._replace(**settled) for one in (self._most, self._least, self.work))
        self._asked, self._most, self._least, self.work = (
            one.on_at_most(work.samples) for one in (self._asked._replace(**bad), most, least, work)
        )

    def _fit(self, measured: int) -> Work:
        return fit(self._most, self._least, self._estimates()._replace(**self._spent), self._left(), measured)

    def _left(self) -> float:
        assert self._budget is not None
        return self._budget - (time.monotonic() - self._began)
