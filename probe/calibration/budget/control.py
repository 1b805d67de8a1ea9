"""BudgetControl: holds a calibration to its budget while it runs, and notes what it decides.

A decision is a result like any other: it is noted under its step, and a run that goes on after having been stopped
keeps to it. So the cases and plans of a step are those that its noted results are of, however much time the second run
has. The budget is of each run by itself; what is recalled costs nothing.
"""

import time
from collections.abc import Callable
from typing import Any

from probe.calibration.budget.budget import CostEstimates, Work, fit, in_words
from probe.common.result_cache import ResultCache

FIRST = 3
"""Samples that are measured before anything is decided."""

PASSED_OVER = "Plans that may keep enough answers were passed over, unchecked, for the one that changes least."


class BudgetControl:
    """`done` is what the calibration does; without a budget that is all that is asked for."""

    def __init__(
        self, budget: float | None, samples: int, held_out: int, memo: ResultCache, began: float, examples: int = 0
    ) -> None:
        """Begin.

        Args:
            budget: seconds, or None.
            samples, held_out, examples: that are asked for.
            began: when the seconds began to run, on the clock of `time.monotonic`.
        """
        self._budget = budget
        self._memo = memo
        self._began = began
        self._asked = self._most = self.done = Work(samples, held_out, samples, samples, examples=examples)
        self._least = self._asked.least()
        self._passed_over = False
        self._paid: dict[str, float] = {}

    @property
    def dropped(self) -> tuple[str, ...]:
        """What was left out, a sentence each."""
        said = in_words(self._asked, self.done)
        return (*said, PASSED_OVER) if self._passed_over else said

    def enough(self, sample: str, measured: int, prices: Callable[[], CostEstimates]) -> bool:
        """Whether the curves of `measured` samples must do, before those of another."""
        if self._budget is None or measured < FIRST:
            return False
        return measured >= self.decide(f"curves/{sample}", prices, measured).samples

    def decide(self, step: str, prices: Callable[[], CostEstimates], measured: int = 0) -> Work:
        """What is done from this step on; called before it."""
        if self._budget is not None:
            found = self._memo(f"budget/{step}", lambda: list(self._fit(prices(), measured)))
            self.done = Work(*found)
        return self.done

    def affords_check(self, number: str, seconds: float) -> bool:
        """Whether one more plan can be checked on the samples kept apart, which nobody counted on."""
        fits = self._budget is None or bool(self._memo(f"budget/held-out {number}", lambda: seconds <= self._left()))
        self._passed_over = self._passed_over or not fits
        return fits

    def finished(self, *paid: str, **done: Any) -> None:
        """A step is over: what it did is settled (fields of `Work`), and costs no more (fields of `CostEstimates`)."""
        self._paid |= dict.fromkeys(paid, 0.0)
        self._most, self._least, self.done = (one._replace(**done) for one in (self._most, self._least, self.done))

    def measured(self, cases: int, unusable: int) -> None:
        """The curves are over; samples that cannot be measured were not dropped."""
        self._asked = self._asked._replace(samples=self._asked.samples - unusable)
        self._asked, self._most, self._least, self.done = (
            one._replace(tests=min(one.tests, cases), plans=min(one.plans, cases))
            for one in (self._asked, self._most, self._least, self.done)
        )
        self.finished("sample", samples=cases)

    def answered(self, cases: int, unusable: int) -> None:
        """The same of the samples kept apart."""
        self._asked = self._asked._replace(held_out=self._asked.held_out - unusable)
        self.finished("answer", held_out=cases)

    def _fit(self, prices: CostEstimates, measured: int) -> Work:
        return fit(self._most, self._least, prices._replace(**self._paid), self._left(), measured)

    def _left(self) -> float:
        assert self._budget is not None
        return self._budget - (time.monotonic() - self._began)
