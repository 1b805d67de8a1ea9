"""From what single interventions do to the profile's plan: the search, the choice, and what is proven about it.

Plans are proposed on the first part of the calibration samples, judged on the rest, and certified on held-out samples,
so that no number that is reported comes from samples that chose it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedConfig

from halfv_core.cost import DecoderShape, LayerTokens, cost_of, tokens_by_layer
from halfv_core.latency import latency_ratio
from halfv_core.plan import Plan
from halfv_core.plan_records import PruningTest, SearchEffort
from halfv_core.records import Saturation, Stages
from probe.analyzers.causal_curves import CausalLosses
from probe.analyzers.marginal_utility import UtilitySurface
from probe.calibration.choose_plan import (
    NOTHING,
    ChosenPlan,
    Goal,
    Priced,
    certify,
    choose,
    doing_nothing,
    judged_tests,
    testing_sequence,
    with_held_out,
)
from probe.calibration.runner import Runner
from probe.calibration.scores import MIN_FULL_SCORE, Array, Judged, ScoreKind
from probe.calibration.search.candidate import Form, PriceTable, Pricing, latency_pricing
from probe.calibration.search.method_plans import method_plans
from probe.calibration.search.predict import Parts
from probe.calibration.search.race import Entrant
from probe.calibration.search.search import Search
from probe.calibration.search.stage_candidates import stage_candidates
from probe.calibration.settings import Settings
from probe.calibration.steps.answer import Answer
from probe.calibration.steps.held_out_check import HeldOutCheck
from probe.calibration.steps.judging import grade_of
from probe.calibration.steps.plans import Plans
from probe.calibration.steps.search_round import SearchRound
from probe.calibration.steps.step import ProbedModel
from probe.data.samples import Sample
from probe.trials.readings import Quality

PROPOSING_SHARE = 0.4
"""Share of the calibration samples on which plans are proposed; they are judged on the others."""
SHOWN_METHODS = 3
"""Number of published methods that are judged beside the finalists, at each of a few costs."""


class Evidence(NamedTuple):
    """What is known before plans are searched for."""

    stages: Stages
    saturation: Saturation
    surface: UtilitySurface | None
    causes: CausalLosses
    redundancy: tuple[float, ...]
    """(L,) the KL curve."""
    picture_needed: bool
    """Whether the samples can say anything about visual tokens."""


class Grading(NamedTuple):
    """How answers are scored."""

    score: ScoreKind
    weights: Array
    """(samples,), how much each calibration sample counts in the search. One that the full model gets wrong counts
    half: its answer has no part in the score, but is among the first to change where something is lost."""

    @classmethod
    def of(
        cls, model: ProbedModel, samples: Sequence[Sample], answers: Mapping[str, Answer], held_out: Sequence[Sample]
    ) -> "Grading":
        """Graded if all samples have references and the full model meets some of them, else by likelihood."""
        if all(sample.answers for sample in (*samples, *held_out)):
            grades = [grade_of(model, sample, torch.tensor(answers[sample.id].ids)) for sample in samples]
            if np.mean(grades) >= MIN_FULL_SCORE:
                return cls("graded", (1.0 + np.array(grades)) / 2.0)
        return cls("likelihood", np.ones(len(samples)))


class FoundPlan(NamedTuple):
    """The plan, and what the search for it cost."""

    chosen: ChosenPlan
    effort: SearchEffort | None


@dataclass(frozen=True)
class PlanFinder:
    """Everything that the search, the choice and the certificate have in common."""

    run: Runner
    settings: Settings
    shape: DecoderShape
    config: PreTrainedConfig
    tokens: tuple[int, int]
    """Visual and text tokens of the mean prompt."""
    samples: Sequence[Sample]
    """The calibration samples."""
    answers: Mapping[str, Answer]
    """The full model's answers to them, by id, in the same order."""
    held_out: Sequence[Sample]
    held_out_answers: Mapping[str, Answer]
    grading: Grading

    def find(self, evidence: Evidence) -> FoundPlan:
        """Search for plans, choose one, and say what is proven about it."""
        if not evidence.picture_needed:
            left_out = self.run.budget.work
            self.run.settle("search", "plan", search=left_out.search, plans=left_out.plans)
            nothing = self._doing_nothing(len(self.samples))
            return FoundPlan(self._certified([nothing], nothing), None)
        work = self.run.decide("search")
        pool = self.samples[: max(2, work.plans)]
        proposing = max(1, min(int(PROPOSING_SHARE * len(pool)), len(evidence.causes.control)))
        search, finalists = self._search(evidence, proposing, in_rounds=work.search)
        self.run.settle("search", search=work.search, plans=work.plans)
        shown = [entrant for entrant in search.leading_methods(SHOWN_METHODS) if entrant not in finalists]

        def judge(entrants: Sequence[Entrant]) -> Judged:
            plans = tuple(one.plan for one in entrants)
            return self.run(Plans(self.answers, plans, *self._scoring, proposing=proposing), pool[proposing:])

        def tests_of(entrants: Sequence[Entrant], judged: Judged) -> list[PruningTest]:
            expected = [search.expectation(one) for one in entrants if one not in shown]
            return judged_tests(list(map(self._price, entrants)), judged, self._goal, self.settings.seed, expected)

        entrants = [*finalists, *shown]
        judged = judge(entrants)
        tests = tests_of(entrants, judged)
        if self._goal.wanted is None and not any(test.safe for test in tests[: len(finalists)]):
            found = search.run_milder() if work.search else search.predicted_milder()
            milder = [entrant for entrant in found if entrant not in entrants]
            if milder:
                finalists, entrants = [*milder, *finalists], [*milder, *entrants]
                judged = judge(milder).and_other_plans(judged)
                tests = tests_of(entrants, judged)
        nothing = self._doing_nothing(len(judged.samples))
        chosen = choose([*tests[: len(finalists)], nothing], self._goal)
        runs = search.results.runs + len(entrants) * len(judged.samples)
        effort = SearchEffort(
            considered=search.considered,
            plans=len(search.entrants),
            plan_samples=runs,
            exhaustive=search.considered * len(pool),
        )
        changed = {test.plan.model_dump_json(): judged.changed_ids(index) for index, test in enumerate(tests)}
        certified = self._certified([*tests, nothing], chosen)
        if certified.certificate.noise_floor is None:
            floor = {"noise_floor": judged.noise_floor}
            certified = certified._replace(certificate=certified.certificate.model_copy(update=floor))
        if not self.held_out_answers:
            certified = certified._replace(changed_ids=changed.get(certified.plan.model_dump_json(), frozenset()))
        return FoundPlan(certified, effort)

    def given(self, plan: Plan) -> ChosenPlan:
        """A plan that is not the result of a search, with what the held-out samples say about it."""
        priced = self._price(Entrant(plan, 1.0, method=self.settings.method))
        test = PruningTest(**priced._asdict(), agreement=1.0, log_likelihood_drop=0.0, safe=False)
        return self._certified([test], test)._replace(tests=())

    @property
    def _scoring(self) -> tuple[ScoreKind, int]:
        return self.grading.score, self.settings.max_new_tokens

    @property
    def _goal(self) -> Goal:
        settings = self.settings
        if settings.target_kv is not None:
            return Goal(settings.retention, lambda priced: priced.kv_ratio, settings.target_kv)
        if settings.target_latency is not None:
            return Goal(settings.retention, lambda priced: priced.latency_ratio or 1.0, settings.target_latency)
        return Goal(settings.retention, lambda priced: priced.flops_ratio, settings.target_flops)

    @property
    def _pricing(self) -> Pricing:
        """What the goal counts, by layer."""
        if self.settings.target_kv is not None:
            return Pricing(self._kv_bytes, *self.tokens)
        table = self.settings.latency_table
        if table is not None and self.settings.target_latency is not None:
            return latency_pricing(table, self.settings.selector, *self.tokens)
        return Pricing(self.shape.prefill_flops, *self.tokens)

    def _kv_bytes(self, tokens: LayerTokens) -> float:
        return self.shape.kv_bytes(tokens.visual + tokens.text - tokens.uncached)

    def _rows(self, plan: Plan) -> tuple[LayerTokens, ...]:
        return tokens_by_layer(plan, self.shape.layers, *self.tokens)

    def _doing_nothing(self, samples: int) -> PruningTest:
        return doing_nothing(samples, timed=self.settings.latency_table is not None)

    def _price(self, entrant: Entrant) -> Priced:
        cost, table = cost_of(self.shape, self._rows(entrant.plan)), self.settings.latency_table
        latency = None if table is None else latency_ratio(table, entrant.plan, *self.tokens)
        return Priced(entrant.plan, cost.flops_ratio, cost.kv_ratio, latency, entrant.method)

    def _search(self, evidence: Evidence, proposing: int, *, in_rounds: bool) -> tuple[Search, list[Entrant]]:
        """The search, with its finalists: of all rounds, or as predicted."""
        settings, layers, pricing = self.settings, self.shape.layers, self._pricing
        form = Form(layers, settings.top_share, settings.selector, settings.options, self.shape.first_ranked)
        tokens = np.array([len(answer.ids) for answer in self.answers.values()], dtype=np.float64)
        parts = Parts.of(form, evidence.surface, evidence.causes, tokens, self.grading.weights, range(proposing))
        names = list(self.answers)
        samples = {sample.id: sample for sample in self.samples}

        def measure(name: str, plans: Sequence[Plan], indices: Sequence[int]) -> Array:
            return self.run(SearchRound(self.answers, tuple(plans), name), [samples[names[index]] for index in indices])

        goal = self._goal

        def ratio_of(plan: Plan) -> float:
            return goal.ratio_of(self._price(Entrant(plan, 1.0)))

        search = Search(form, PriceTable(form, pricing), parts, ratio_of, measure, goal.wanted)
        if not in_rounds:
            only = evidence.saturation.type
            begin = stage_candidates(evidence.stages, form, settings.keep_ratios, only)
            return search, search.predicted_best(begin)
        begin = stage_candidates(evidence.stages, form, settings.keep_ratios)
        methods = method_plans(self.config, *self.tokens, evidence.redundancy, settings.target_flops)
        return search, search.run(begin, methods)

    def _certified(self, tests: Sequence[PruningTest], chosen: PruningTest) -> ChosenPlan:
        """The chosen plan, or the one that takes its place, with what the held-out samples say."""
        settings = self.settings
        sequence = testing_sequence(tests, chosen, self._goal)
        check = HeldOutCheck(self.held_out_answers, tuple(test.plan for test in sequence), *self._scoring)
        judged = self.run(check, self.held_out if sequence else [])
        if not sequence:
            judged = _untouched(len(self.held_out))
        priced = [Priced(test.plan, test.flops_ratio, test.kv_ratio or 1.0) for test in sequence]
        certificate, index = certify(
            priced, judged, settings.retention, self.grading.score, strict=settings.strict, seed=settings.seed,
            asked_for=settings.method is not None or self._goal.wanted is not None,
        )  # fmt: skip
        quality = None
        if self.held_out:
            quality = Quality(1.0, 0.0) if index is None else judged.scores[index].quality
        return ChosenPlan(
            tests=with_held_out(tests, sequence, judged, settings.seed),
            plan=NOTHING if index is None else sequence[index].plan,
            held_out_quality=quality,
            changed_ids=frozenset() if index is None else judged.changed_ids(index),
            certificate=certificate,
        )


def _untouched(samples: int) -> Judged:
    """What is known without running anything if the plan does nothing."""
    return Judged(tuple(map(str, range(samples))), ())
