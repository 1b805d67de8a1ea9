"""Runner: measures the samples of a step, whatever the step is.

It alone knows which samples are measured and where, what was measured before the run was stopped, how long things take,
what the budget has room for, who is told about progress, and which samples could not be used.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from halfv_core.cost import DecoderShape
from halfv_core.errors import DataError
from probe.calibration.budget.budget import Work
from probe.calibration.budget.control import BudgetControl
from probe.calibration.cost_estimates import CostEstimator
from probe.calibration.settings import Settings
from probe.calibration.steps.step import Item, ProbedModel, Result, Step
from probe.common.journal import Journal
from probe.common.progress import OnProgress, counter
from probe.common.result_cache import ResultCache
from probe.data.samples import Rejected, Sample


class Runner:
    """One calibration under way.

    run = Runner(model, settings, shape, asked, journal, on_progress, began)
    measurements, answers = run(Curves(entropy_k=50, max_new_tokens=32), samples)
    """

    def __init__(
        self,
        model: ProbedModel,
        settings: Settings,
        shape: DecoderShape,
        requested: Work,
        journal: Journal | None,
        on_progress: OnProgress | None,
        started: float,
    ) -> None:
        """Begin, or go on with what the journal holds.

        Args:
            asked: how much of each step is done when the budget has room for all.
            began: when the budget began to run, on the clock of `time.monotonic`.
        """
        self._model = model
        self._on_progress = on_progress or (lambda *_: None)
        self._cache = ResultCache(journal)
        self.estimates = CostEstimator(settings, shape)
        self.budget = BudgetControl(settings.budget, requested, self.estimates, self._cache, started)
        self.seconds: dict[str, float] = defaultdict(float)
        """Wall-clock time by step."""
        self.rejected: list[Rejected] = []
        """Samples that could not be measured, in the order in which that was found."""

    def __call__(self, step: Step[Result], samples: Sequence[Sample]) -> Result:
        """Measure a step on as many of the samples as the budget has room for.

        Raises:
            DataError: a sample cannot be used, and the step does not skip such samples.
        """
        work = self.budget.decide(step.name) if step.budgeted == "before the step" else self.budget.work
        step = step.reduced_to(work)
        if step.budgeted != "never":
            samples = samples[: step.sample_count(work)]
        rejected_before, items = len(self.rejected), self._measure_all(step, samples)
        if step.budgeted != "never":
            bad_samples = {step.work_field: len(self.rejected) - rejected_before}
            self.budget.finish_step(step.cost_fields, step.settled_work(self.budget.work, len(items)), bad_samples)
        return step.combine(items)

    def can_afford(self, step: Step[Result], number: int, times: int) -> bool:
        """Whether there is time to measure a step on so many samples, which no estimate has counted on."""
        return self.budget.can_afford_check(number, lambda: times * step.cost(self.estimates.mean))

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """The time that the block takes belongs to a step."""
        started = time.monotonic()
        yield
        self.seconds[name] += time.monotonic() - started

    def _measure_all(self, step: Step[Result], samples: Sequence[Sample]) -> dict[str, Item]:
        """Items by sample id; without the samples that are left out as bad."""
        items: dict[str, Item] = {}
        if not samples:
            return items
        on_sample = counter(self._on_progress, step.name, len(samples)) if step.recorded else lambda: None
        with self.timed(step.name):
            for sample in samples:
                budgeted_by_sample = step.budgeted == "before each sample"
                if budgeted_by_sample and self.budget.has_enough(step.name, sample.id, len(items)):
                    break
                item = self._measure(step, sample)
                if step.skips_bad_samples and "rejected" in item:
                    self.rejected.append(Rejected(sample.id, item["rejected"]))
                else:
                    items[sample.id] = item
                    if budgeted_by_sample:
                        self.estimates.add(item)
                on_sample()
        return items

    def _measure(self, step: Step[Result], sample: Sample) -> Item:
        """One item: from the journal, or measured here and now."""

        def measure() -> Item:
            try:
                return step.measure(self._model, sample)
            except DataError as error:
                if not step.skips_bad_samples:
                    raise
                return {"rejected": str(error)}

        return self._cache(f"{step.key}/{sample.id}", measure) if step.recorded else measure()
