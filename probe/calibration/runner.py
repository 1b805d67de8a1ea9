"""Runner: a StepRunner that follows the budget of a calibration, which decides which samples are measured."""

from collections.abc import Sequence
from typing import Any

from halfv_core.cost import DecoderShape
from probe.calibration.budget.budget import Work
from probe.calibration.budget.control import BudgetControl
from probe.calibration.cost_estimates import CostEstimator
from probe.calibration.settings import Settings
from probe.calibration.step_runner import Limit, StepRunner
from probe.calibration.steps.curves import Curves
from probe.calibration.steps.step import Item, ProbedModel, Result, Step
from probe.common.data_parallel import ALONE, DataParallel
from probe.common.journal import Journal
from probe.common.progress import OnProgress
from probe.data.samples import Sample


class Runner(StepRunner):
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
        data_parallel: DataParallel = ALONE,
    ) -> None:
        """Start a calibration, or resume it with the results in the journal.

        Args:
            requested: how much of each step is done if the budget allows all of it.
            started: the start of the budget, on the clock of `time.monotonic`.
        """
        super().__init__(model, journal, on_progress, data_parallel)
        self.estimates = CostEstimator(settings, shape)
        self.budget = BudgetControl(
            settings.budget, requested, self.estimates, self._cache, started, data_parallel.size
        )
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

    def _measure_all(self, step: Step[Result], samples: Sequence[Sample]) -> dict[str, Item]:
        """Items by sample id; where the step says so, the budget decides before each round of one sample a process."""
        if step.budgeted != "before each sample":
            return self.measure_all(step, samples)
        return self.measure_all(
            step,
            samples,
            limit=Limit(
                lambda sample, measured: self.budget.most(step.name, sample, measured),
                lambda sample: self.budget.has_decided(step.name, sample),
            ),
            on_item=self.estimates.add,
        )
