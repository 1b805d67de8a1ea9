"""Study: the steps of a calibration that run the model, each of them sample by sample, timed, and noted as it goes."""

import math
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from transformers import PreTrainedModel

from halfv_core.cost import DecoderShape
from halfv_core.errors import ModelError
from halfv_core.families import Family
from halfv_core.plan import Plan
from halfv_core.processors import PromptProcessor
from halfv_core.records import Check, PruningTest, Saturation, Stages
from probe.analyzers.marginal_utility import UtilitySurface, grid_plans, utility_surface
from probe.analyzers.saturation import classify_saturation
from probe.calibration.budget.budget import CostEstimates
from probe.calibration.budget.control import BudgetControl
from probe.calibration.budget.cost_estimates import Seconds, estimate_costs
from probe.calibration.build import Measurements
from probe.calibration.checks import self_checks
from probe.calibration.examples import attended_layers, choose, make_examples
from probe.calibration.grids import stage_three_grid, utility_grid
from probe.calibration.measure import SampleMeter
from probe.calibration.observations import Example
from probe.calibration.search import as_tests, candidate_plans, in_question
from probe.calibration.settings import Settings
from probe.common.progress import OnProgress, counter
from probe.common.result_cache import ResultCache
from probe.data.samples import Rejected, Sample, check_enough
from probe.trials.try_plans import Case, Quality, Readings, try_plans


class Study:
    """One calibration under way."""

    def __init__(
        self,
        model: PreTrainedModel,
        processor: PromptProcessor,
        settings: Settings,
        family: Family | None,
        on_progress: OnProgress,
        memo: ResultCache,
        pace: BudgetControl,
    ) -> None:
        self._model = model
        self._processor = processor
        self._settings = settings
        self._family = family
        self._on_progress = on_progress
        self._memo = memo
        self._pace = pace
        self._sample_seconds: list[dict[str, float]] = []
        self.seconds: dict[str, float] = defaultdict(float)
        """Wall-clock time by step."""
        self._changed: set[str] = set()  # ids of samples whose answer the plan that is taken changes
        self._meter = SampleMeter(model, processor, settings, family)
        value_bytes = next(model.parameters()).element_size()
        self.shape = DecoderShape.of(model.config.get_text_config(), value_bytes)
        if self.shape.layers < 2:
            raise ModelError(
                "a decoder this short has no stages", got=f"{self.shape.layers} layer", expected="2 or more"
            )

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """The block belongs to a step."""
        began = time.monotonic()
        yield
        self.seconds[step] += time.monotonic() - began

    def measure(self, samples: Sequence[Sample]) -> tuple[Measurements, list[Case], list[Rejected]]:
        """Curves, redundancy and the full model's answers, of as many samples as the budget has room for.

        Samples that cannot be measured are named.

        Raises:
            DataError: too few can be (see `check_enough`).
        """
        found, rejected = Measurements(entropy_k=self._settings.entropy_k), []
        cases: list[Case] = []
        on_sample = counter(self._on_progress, "curves", len(samples))
        with self.timed("curves"):
            for sample in samples:
                if self._pace.enough(sample.id, len(cases), partial(self._prices, found)):
                    break
                record = self._memo(f"curves/{sample.id}", partial(self._meter.curves, sample))
                if "rejected" in record:
                    rejected.append(Rejected(sample.id, record["rejected"]))
                else:
                    cases.append(self._meter.case(sample, record))
                    found.add(record)
                    self._sample_seconds.append(record["seconds"])
                on_sample()
        check_enough("samples", len(cases), rejected, "give samples that the model can be measured on")
        self._pace.measured(len(cases), len(rejected))
        return found, cases, rejected

    def _prices(
        self, found: Measurements, stages: Stages | None = None, type_: Saturation | None = None
    ) -> CostEstimates:
        seconds = Seconds.mean(self._sample_seconds)
        return estimate_costs(seconds, self._settings, self.shape.layers, found.mean_tokens, stages, type_)

    def cases(self, samples: Sequence[Sample], measurements: Measurements) -> tuple[list[Case], list[Rejected]]:
        """The full model's answers to samples that are kept apart, as many as the budget has room for.

        Those that it cannot answer are named.
        """
        samples = samples[: self._pace.decide("held-out answers", partial(self._prices, measurements)).held_out]
        found, rejected = [], []
        on_sample = counter(self._on_progress, "held-out answers", len(samples))
        with self.timed("held-out answers"):
            for sample in samples:
                record = self._memo(f"answer/{sample.id}", partial(self._meter.answer, sample))
                if "rejected" in record:
                    rejected.append(Rejected(sample.id, record["rejected"]))
                else:
                    found.append(self._meter.case(sample, record))
                on_sample()
        self._pace.answered(len(found), len(rejected))
        return found, rejected

    def utility(self, cases: Sequence[Case], found: Measurements) -> UtilitySurface | None:
        """Marginal utility in the first third of the layers; None where no ratio prunes, or the budget has no room."""
        layers, ratios = utility_grid(self.shape.layers, self._settings)
        if not ratios:
            return None
        if not self._pace.decide("marginal utility", partial(self._prices, found)).surface:
            self._pace.finished("surface", surface=False, grid=False)
            return None
        plans = grid_plans(layers, ratios, self._settings.selector, self._settings.options)
        step = "marginal utility"
        on_case = counter(self._on_progress, step, len(cases))
        with self.timed(step):
            readings = try_plans(
                self._model, cases, plans, family=self._family, on_case=on_case, step=step, cache=self._memo
            )
        self._pace.finished("surface", surface=True)
        return utility_surface(layers, ratios, readings, self.shape, *found.mean_tokens)

    def classify(self, cases: Sequence[Case], stages: Stages, found: Measurements) -> Saturation:
        """The causal tests of Stage III, where it begins and, unless the budget has no room, elsewhere."""
        settings = self._settings
        work = self._pace.decide("Stage III", partial(self._prices, found, stages))
        cases = cases[: work.tests]
        starts, _, shares = stage_three_grid(stages, self.shape.layers, settings)
        with self.timed("Stage III"):
            saturation = classify_saturation(
                self._model,
                cases,
                stages.saturation_start,
                top_share=settings.top_share,
                thresholds=settings.thresholds,
                starts=starts if work.grid else (),
                shares=shares,
                family=self._family,
                on_case=counter(self._on_progress, "Stage III", len(cases)),
                seed=settings.seed,
                cache=self._memo,
            )
        self._pace.finished("test", "grid", "once", tests=work.tests, grid=work.grid)
        return saturation

    def search(
        self, cases: Sequence[Case], kept_apart: Sequence[Case], found: Measurements, stages: Stages, type_: Saturation
    ) -> tuple[tuple[PruningTest, ...], PruningTest, Quality | None]:
        """Try whole plans, take one, and see what it does to the samples kept apart.

        Returns:
            all that was tried, cheapest first; the one that is taken; its quality on `kept_apart`, None without any.
        """
        plans = candidate_plans(stages, type_, self.shape.layers, self._settings)
        step = "plans"
        prices = partial(self._prices, found, stages, type_)
        cases = cases[: self._pace.decide(step, prices).plans]
        on_case = counter(self._on_progress, step, len(cases))
        with self.timed(step):
            readings = try_plans(
                self._model, cases, plans, family=self._family, on_case=on_case, step=step, cache=self._memo
            )
        tests = as_tests(plans, readings, self.shape, found.mean_tokens, self._settings)
        wanted = self._settings.target_retention or -math.inf
        tried: dict[int, Quality] = {}
        *others, last = in_question(tests, self._settings)
        for number, taken in enumerate([*others, last]):
            more = 2 * len(kept_apart) * prices().check  # this one, and the last
            if tried and taken is not last and not self._pace.affords_check(f"{number}", more):
                continue
            unseen = self._check(kept_apart, taken.plan, len(tried))
            if unseen is None:
                self._note_changed(cases, readings[plans.index(taken.plan)])
                return tests, taken, None
            self._note_changed(kept_apart, unseen)
            tried[tests.index(taken)] = unseen.quality()
            if tried[tests.index(taken)].agreement >= wanted:
                break
        noted = tuple(
            test.model_copy(update={"held_out_agreement": tried[index].agreement}) if index in tried else test
            for index, test in enumerate(tests)
        )
        return noted, noted[tests.index(taken)], tried[tests.index(taken)]

    def _note_changed(self, cases: Sequence[Case], readings: Readings) -> None:
        self._changed = {case.id for case, agrees in zip(cases, readings.agrees, strict=True) if not agrees}

    def _check(self, cases: Sequence[Case], plan: Plan, number: int) -> Readings | None:
        """A plan on samples that it was not chosen on; None without any."""
        if not cases:
            return None
        step = "held-out"
        on_case = counter(self._on_progress, step, len(cases))
        with self.timed(step):
            (readings,) = try_plans(
                self._model,
                cases,
                [plan],
                family=self._family,
                on_case=on_case,
                step=f"{step} {number}",
                cache=self._memo,
            )
        return readings

    def examples(
        self, samples: Sequence[Sample], cases: Sequence[Case], found: Measurements, stages: Stages, plan: Plan
    ) -> tuple[Example, ...]:
        """A few of the samples that `cases` are of, under the plan; none where the budget has no room.

        Those of which it is not known what their visual tokens look at are left out.
        """
        step, settings = "examples", self._settings
        self._pace.finished("plan", "check")
        count = self._pace.decide(step, partial(self._prices, found, stages)).examples
        answers = {case.id: case.answer for case in cases}
        chosen = choose([sample for sample in samples if sample.id in answers], self._changed, count)
        on_sample = counter(self._on_progress, step, len(chosen))
        with self.timed(step):
            return make_examples(
                self._model,
                self._processor,
                chosen,
                answers,
                plan,
                layers=attended_layers(stages),
                max_new_tokens=settings.max_new_tokens,
                family=self._family,
                on_sample=on_sample,
                memo=self._memo,
            )

    def checks(self, sample: Sample) -> tuple[Check, ...]:
        """Self-checks on one sample."""
        with self.timed("self-checks"):
            return self_checks(self._model, self._meter.inputs(sample), self._settings.entropy_k, family=self._family)
