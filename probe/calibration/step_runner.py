"""StepRunner: measures steps sample by sample, resumes an interrupted run, keeps times, reports progress.

Samples that cannot be used are collected. The steps know about none of this, and this knows no particular step. Where
several processes measure, the first one runs the steps, and the others serve it.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from halfv_core.errors import DataError, HalfVError
from halfv_core.failures import failure_of, is_out_of_memory
from halfv_core.families import parts_of
from probe.calibration.steps.step import Item, ProbedModel, Step
from probe.common.data_parallel import ALONE, DataParallel
from probe.common.journal import Journal
from probe.common.progress import OnProgress, counter
from probe.common.result_cache import ResultCache
from probe.data.prompt_size import prompt_size
from probe.data.samples import Rejected, Sample

R = TypeVar("R")


class Limit(NamedTuple):
    """How far a step is measured, decided while it is."""

    most: Callable[[str, int], int | None]
    """Gets the id of the next sample and the number of those measured, and says how many are measured at most; None
    for no limit."""
    has_decided: Callable[[str], bool] = lambda sample: False
    """Whether an earlier run decided before the sample with this id, so that the decision is taken there again."""


class Task(NamedTuple):
    """What the first process asks the others to measure."""

    step: Step[Any]
    samples: list[str]
    """Their ids, in the order in which they are measured."""


class StepRunner:
    """Runs steps on a model."""

    def __init__(
        self,
        model: ProbedModel,
        journal: Journal | None,
        on_progress: OnProgress | None,
        data_parallel: DataParallel = ALONE,
    ) -> None:
        """Start, or resume with the results in the journal."""
        self.model = model
        self.data_parallel = data_parallel
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
        limit: Limit | None = None,
        on_item: Callable[[Item], None] = lambda item: None,
    ) -> dict[str, Item]:
        """Items by sample id, without the skipped samples.

        Args:
            limit: says when there are enough.
            on_item: called with each item.

        Raises:
            DataError: a sample cannot be used, and the step does not skip such samples.
        """
        items: dict[str, Item] = {}
        if not samples:
            return items
        on_sample = counter(self._on_progress, step.name, len(samples)) if step.recorded else lambda: None
        with self.timed(step.name):
            start = 0
            while start < len(samples):
                part = samples[start : start + self._next_count(step, samples[start:], len(items), limit)]
                if not part:
                    break
                start += len(part)
                for sample, item in zip(part, self._measured(step, part, on_sample), strict=True):
                    if step.skips_bad_samples and "rejected" in item:
                        self.rejected.append(Rejected(sample.id, item["rejected"]))
                    else:
                        items[sample.id] = item
                        on_item(item)
        return items

    def serve(self, samples: Sequence[Sample], result: type[R]) -> R:
        """Measure what the first process asks for, until it has the result, which is returned.

        Args:
            samples: all that it may ask for.
            result: type of the result.
        """
        by_id = {sample.id: sample for sample in samples}
        while not isinstance(told := self.data_parallel.tell(), result):
            self._share(told.step, [by_id[name] for name in told.samples])
        return told

    def finish(self, result: R) -> R:
        """Give the result to the other processes, which serve no longer."""
        self.data_parallel.tell(result)
        return result

    def _next_count(self, step: Step[Any], samples: Sequence[Sample], measured: int, limit: Limit | None) -> int:
        """How many samples are measured before the next decision about the limit."""
        if limit is None:
            return len(samples)
        first = samples[0]
        is_stored = self._is_stored(step, first)
        most = limit.most(first.id, measured) if not is_stored or limit.has_decided(first.id) else None
        if most is not None and measured >= most:
            return 0
        if is_stored:
            return 1
        room = self.data_parallel.size if most is None else min(self.data_parallel.size, most - measured)
        for count, sample in enumerate(samples[1:room], start=1):
            if self._is_stored(step, sample) or limit.has_decided(sample.id):
                return count
        return min(room, len(samples))

    def _measured(self, step: Step[Any], samples: Sequence[Sample], on_sample: Callable[[], None]) -> list[Item]:
        """The items of the samples, from the journal or measured by all processes."""
        found: dict[str, Item] = {}
        for sample in samples:
            if self._is_stored(step, sample):
                found[sample.id] = self._cache.stored(_key(step, sample))
                on_sample()
        missing = [sample for sample in samples if sample.id not in found]
        if missing:
            if self.data_parallel.size > 1:
                missing.sort(key=prompt_size, reverse=True)
                self.data_parallel.tell(Task(step, [sample.id for sample in missing]))
            measured = self._share(step, missing, on_sample)
            found |= {sample.id: item for sample, item in zip(missing, measured, strict=True)}
        return [found[sample.id] for sample in samples]

    def _share(
        self, step: Step[Any], samples: Sequence[Sample], on_sample: Callable[[], None] = lambda: None
    ) -> list[Item]:
        """Measure samples, each in one of the processes, or in each of them; the items are in the first one."""
        if not step.recorded:
            collected = [self.data_parallel.collect(self._measure(step, sample)) for sample in samples]
            return [step.merged(items) for items in collected if items]
        return self.data_parallel.share(
            len(samples),
            lambda number: self._measure(step, samples[number]),
            on_sample,
            label=lambda number: f"sample '{samples[number].id}' of the step {step.name}",
        )

    def _is_stored(self, step: Step[Any], sample: Sample) -> bool:
        return step.recorded and _key(step, sample) in self._cache

    def _measure(self, step: Step[Any], sample: Sample) -> Item:
        """One item, which the journal gets."""

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

        return self._cache(_key(step, sample), measure) if step.recorded else self._cache.computed(measure)


def _key(step: Step[Any], sample: Sample) -> str:
    """The name under which an item is stored."""
    return f"{step.key}/{sample.id}"
