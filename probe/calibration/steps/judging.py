"""JudgingStep: base class of steps that score answers under whole plans, graded where there are references."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import torch

from halfv_core.families import parts_of
from halfv_core.placement import device_of
from halfv_core.plan import Plan
from halfv_core.runtime.patching import attention_kernel
from probe.analyzers.causal_curves import losses_of
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.scores import Array, Judged, ScoreKind, Scores
from probe.calibration.steps.answer import Answer
from probe.calibration.steps.step import Item, ProbedModel, Step, key_with_plans
from probe.capture.replay import Replay
from probe.data.samples import Sample
from probe.evaluation.grading import grade
from probe.trials.answers import Inputs, greedy_answer, read_answer
from probe.trials.eager_by_heads import eager_by_heads
from probe.trials.try_plans import under


@dataclass(frozen=True)
class JudgingStep(Step[Judged]):
    """Runs each sample in full, and from its first layer on under each plan.

    An answer that stays the same has the full model's grade; one that changes is generated and graded. Under the score
    `likelihood`, or if the step says so, the sample runs once more under another attention kernel, for the noise floor.
    """

    always_with_floor: ClassVar[bool] = False
    """Whether the noise floor is measured under every score."""

    answers: Mapping[str, Answer]
    """The full model's answers, by sample id."""
    tried: tuple[Plan, ...]
    score: ScoreKind
    max_new_tokens: int

    @cached_property
    def key(self) -> str:
        return key_with_plans(self.name, self.tried)

    def measure(self, model: ProbedModel, sample: Sample) -> Item:
        answer, inputs = self.answers[sample.id], model.inputs(sample)
        replay = Replay(model.model, inputs, family=model.family, low_memory=model.low_memory)
        if answer.log_likelihood is None:
            answer = answer._replace(log_likelihood=_log_likelihood_in_full(model, inputs, answer, replay))
        case = answer.case(model, sample)
        full = grade_of(model, sample, case.answer) if self.score == "graded" else None
        results = []
        for plan in self.tried:
            with under(plan, case, replay, model.model, model.family):
                reading, graded = read_answer(model.model, inputs, case.answer), full
                if full is not None and not reading.agrees:
                    changed = greedy_answer(model.model, inputs, self.max_new_tokens)
                    graded = grade_of(model, sample, changed)
            results.append([reading.agrees, case.log_likelihood - reading.log_likelihood, graded])
        del replay  # its memory is needed
        floor = None
        if self._with_floor:
            floor = case.log_likelihood - log_likelihood_elsewhere(model, inputs, case.answer)
        return {"full": full, "floor": floor, "plans": results}

    def combine(self, items: Mapping[str, Item]) -> Judged:
        tokens = np.array([len(self.answers[name].ids) for name in items], dtype=np.float64)
        floor = losses_of(np.array([item["floor"] for item in items.values()]) * tokens) if self._with_floor else None
        rows = list(items.values())
        return Judged(
            tuple(items),
            tuple(self._scores(rows, index, tokens, floor) for index in range(len(self.tried))),
            floor,
        )

    @property
    def _with_floor(self) -> bool:
        return self.always_with_floor or self.score == "likelihood"

    def _scores(self, rows: list[Item], index: int, tokens: Array, floor: Array | None) -> Scores:
        agrees, drops, grades = zip(*(row["plans"][index] for row in rows), strict=True) if rows else ((), (), ())
        drops_table = np.array(drops, dtype=np.float64)
        if self.score == "graded":
            kept, full = np.array(grades, dtype=np.float64), np.array([row["full"] for row in rows], dtype=np.float64)
        else:
            assert floor is not None
            kept, full = 1.0 - losses_of(drops_table * tokens), 1.0 - floor
        return Scores(kept, full, np.array(agrees, dtype=bool), drops_table)

    def cost(self, mean: MeanSample) -> float:
        return mean.trial_seconds(self.tried) + self._with_floor * (mean.prefill + mean.reading)


def grade_of(model: ProbedModel, sample: Sample, answer: torch.Tensor) -> float:
    """The grade of an answer's token ids against the sample's references, 0..1."""
    return grade(sample, model.processor.decode(answer)).value


def _log_likelihood_in_full(model: ProbedModel, inputs: Inputs, answer: Answer, replay: Replay) -> float:
    """The answer's log-likelihood without a plan, nats per token; only the answer's own tokens run."""
    ids = torch.tensor(answer.ids, device=device_of(model.model))  # (T,)
    with replay.from_layer(len(parts_of(model.model, model.family).layers)):
        return read_answer(model.model, inputs, ids).log_likelihood


def log_likelihood_elsewhere(model: ProbedModel, inputs: Inputs, answer: torch.Tensor) -> float:
    """The answer's log-likelihood under another attention kernel of the decoder, nats per token."""
    parts = parts_of(model.model, model.family)
    attention = parts.layers[parts.first_attention].self_attn
    eager = attention.config._attn_implementation == "eager"
    with attention_kernel(attention, "sdpa") if eager else eager_by_heads(attention):
        return read_answer(model.model, inputs, answer).log_likelihood
