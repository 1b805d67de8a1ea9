"""Runner: measures the samples of any step.

The runner decides which samples are measured, restores results of an interrupted run, keeps times, follows the budget,
reports progress, and collects samples that could not be used. The steps know about none of this.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from halfv_core.cost import DecoderShape
from halfv_core.errors import DataError, HalfVError
from halfv_core.failures import failure_of, is_out_of_memory
from halfv_core.families import parts_of
from probe.calibration.budget.budget import Work
from probe.calibration.budget.control import BudgetControl
from probe.calibration.cost_estimates import CostEstimator
from probe.calibration.settings import Settings
from probe.calibration.steps.curves import Curves
from probe.calibration.steps.step import Item, ProbedModel, Result, Step
from probe.common.journal import Journal
from probe.common.progress import OnProgress, counter
from probe.common.result_cache import ResultCache
from probe.data.samples import Rejected, Sample


class Runner:
    """A running calibration.

    run = Runner(model, settings, shape, requested, journal, on_progress, started)
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
        """Start a calibration, or resume it with the results in the journal.

        Args:
            requested: how much of each step is done if the budget allows all of it.
            started: the start of the budget, on the clock of `time.monotonic`.
        """
        self.model = model
        self._on_progress = on_progress or (lambda *_: None)
        self._cache = ResultCache(journal, parts_of(model.model, model.family).ranks)
        self.estimates = CostEstimator(settings, shape)
        self.budget = BudgetControl(settings.budget, requested, self.estimates, self._cache, started)
        self.seconds: dict[str, float] = defaultdict(float)
        """Wall-clock time of each step."""
        self.rejected: list[Rejected] = []
        """Samples that could not be measured, in the order in which they were rejected."""
        self._done: list[tuple[Step[Any], int]] = []

    def __call__(self, step: Step[Result], samples: Sequence[Sample]) -> Result:
        """Run a step on as many of the samples as the budget allows.

        Raises:
            DataError: a sample cannot be used, and the step does not skip such samples.
        """
        work = self.budget.decide(step.name) if step.budgeted == "before the step" else self.budget.work
        step = step.reduced_to(work)
        if step.budgeted == "never":
            items = self._measure_all(step, samples)
            self.budget.finish_step(step.cost_fields, {}, {})
        else:
            rejected_before = len(self.rejected)
            items = self._measure_all(step, samples[: step.sample_count(work)])
            bad_samples = {step.work_field: len(self.rejected) - rejected_before}
            self.budget.finish_step(step.cost_fields, step.settled_work(self.budget.work, len(items)), bad_samples)
        self._done.append((step, len(items)))
        return step.combine(items)

    def decide(self, name: str) -> Work:
        """How much is done from here on, for work that is not a single step."""
        return self.budget.decide(name)

    def settle(self, *cost_fields: str, **settled: int | bool) -> None:
        """Such work is over; nothing more is spent on these fields of `CostEstimates`, and these of `Work` stay."""
        self.budget.finish_step(cost_fields, settled, {})

    @property
    def passes(self) -> float:
        """Forward passes of the prompt through the decoder so far, all samples together; decoding is not counted.

        Passes of a part of the layers or of the tokens count as that part. The steps' own cost estimates say how many.
        """
        unit = self.estimates.mean.in_passes()
        kl = unit.kl * sum(min(count, self.budget.work.kl) for step, count in self._done if isinstance(step, Curves))
        return kl + sum(step.cost(unit) * count for step, count in self._done)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a step."""
        started = time.monotonic()
        yield
        self.seconds[name] += time.monotonic() - started

    def _measure_all(self, step: Step[Result], samples: Sequence[Sample]) -> dict[str, Item]:
        """Items by sample id, without the skipped samples."""
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
        """One item, from the journal if it is there."""

        def measure() -> Item:
            try:
                return step.measure(self.model, sample)
            except DataError as error:
                if not step.skips_bad_samples:
                    raise
                return {"rejected": str(error)}
            except HalfVError:
                raise  # about the model or the plan, so every sample would fail
            except Exception as error:
                failure = failure_of(error)
                if failure is None or is_out_of_memory(error) or not step.skips_bad_samples:
                    raise
                return {"rejected": str(failure)}

        return self._cache(f"{step.key}/{sample.id}", measure) if step.recorded else self._cache.computed(measure)
