"""StepRunner: measures steps sample by sample, resumes an interrupted run, keeps times, reports progress.

Samples that cannot be used are collected. The steps know about none of this, and this knows no particular step.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from halfv_core.errors import DataError, HalfVError
from halfv_core.failures import failure_of, is_out_of_memory
from halfv_core.families import parts_of
from probe.calibration.steps.step import Item, ProbedModel, Step
from probe.common.journal import Journal
from probe.common.progress import OnProgress, counter
from probe.common.result_cache import ResultCache
from probe.data.samples import Rejected, Sample


class StepRunner:
    """Runs steps on a model."""

    def __init__(self, model: ProbedModel, journal: Journal | None, on_progress: OnProgress | None) -> None:
        """Start, or resume with the results in the journal."""
        self.model = model
        self._on_progress = on_progress or (lambda *_: None)
        self._cache = ResultCache(journal, parts_of(model.model, model.family).ranks)
        self.seconds: dict[str, float] = defaultdict(float)
        """Wall-clock time of each step."""
        self.rejected: list[Rejected] = []
        """Samples that could not be measured, in the order in which they were rejected."""

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Add the time that the block takes to a step."""
        started = time.monotonic()
        yield
        self.seconds[name] += time.monotonic() - started

    def measure_all(
        self,
        step: Step[Any],
        samples: Sequence[Sample],
        *,
        has_enough: Callable[[str, int], bool] = lambda sample, measured: False,
        on_item: Callable[[Item], None] = lambda item: None,
    ) -> dict[str, Item]:
        """Items by sample id, without the skipped samples.

        Args:
            has_enough: gets the id of the next sample and the number of those measured, and says whether to stop.
            on_item: called with each item.

        Raises:
            DataError: a sample cannot be used, and the step does not skip such samples.
        """
        items: dict[str, Item] = {}
        if not samples:
            return items
        on_sample = counter(self._on_progress, step.name, len(samples)) if step.recorded else lambda: None
        with self.timed(step.name):
            for sample in samples:
                if has_enough(sample.id, len(items)):
                    break
                item = self._measure(step, sample)
                if step.skips_bad_samples and "rejected" in item:
                    self.rejected.append(Rejected(sample.id, item["rejected"]))
                else:
                    items[sample.id] = item
                    on_item(item)
                on_sample()
        return items

    def _measure(self, step: Step[Any], sample: Sample) -> Item:
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
