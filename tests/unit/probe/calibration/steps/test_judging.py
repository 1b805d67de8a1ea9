"""Judging on tiny models: grades and likelihoods next to plain runs under each plan."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.models import load_model
from probe.calibration.scores import Judged
from probe.calibration.steps import judging
from probe.calibration.steps.answer import Answer
from probe.calibration.steps.held_out_check import HeldOutCheck
from probe.calibration.steps.judging import JudgingStep
from probe.calibration.steps.plans import Plans
from probe.calibration.steps.step import ProbedModel
from probe.data.samples import Sample, load_samples
from probe.evaluation.grading import grade
from probe.trials.answers import greedy_answer, read_answer
from tests.checkpoints import save_checkpoint
from tests.unit.probe.calibration.test_calibrate import write_samples

TOKENS = 3
MILD, BOLD = Plan(()), Plan((Keep(layer=0, keep_ratio=0.0, selector="uniform"),))
MIXED = Plan((Keep(layer=1, keep_ratio=0.25, selector="uniform"), Freeze(layers=range(2, 5))))
PLANS = (MILD, MIXED, BOLD)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ProbedModel:
    loaded = load_model(str(save_checkpoint("llava", tmp_path_factory.mktemp("model"))), device="cpu")
    return ProbedModel(loaded.model, loaded.processor)


@pytest.fixture(scope="module")
def answers(model: ProbedModel, drawn: list[Sample]) -> dict[str, Answer]:
    """The full model's, with their likelihoods."""
    found = {}
    for sample in drawn:
        ids = greedy_answer(model.model, model.inputs(sample), TOKENS)
        found[sample.id] = Answer(
            tuple(ids.tolist()), read_answer(model.model, model.inputs(sample), ids).log_likelihood
        )
    return found


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return list(load_samples(write_samples(tmp_path_factory.mktemp("data"), 5)))


@pytest.fixture(scope="module")
def samples(model: ProbedModel, drawn: list[Sample], answers: dict[str, Answer]) -> list[Sample]:
    """The references are what the full model says, but for the last sample."""
    said = [model.processor.decode(torch.tensor(answers[sample.id].ids)) for sample in drawn]
    right = [sample.model_copy(update={"answers": (text,)}) for sample, text in zip(drawn, said, strict=True)]
    return [*right[:-1], drawn[-1]]


def judge(step: JudgingStep, model: ProbedModel, samples: list[Sample]) -> Judged:
    return step.combine({sample.id: step.measure(model, sample) for sample in samples})


def answer_under(plan: Plan, model: ProbedModel, sample: Sample) -> torch.Tensor:
    with apply(model.model, plan):
        return greedy_answer(model.model, model.inputs(sample), TOKENS)


def test_grades_are_those_of_plain_generation(
    model: ProbedModel, samples: list[Sample], answers: dict[str, Answer]
) -> None:
    judged = judge(Plans(answers, PLANS, "graded", TOKENS), model, samples)
    assert judged.samples == tuple(sample.id for sample in samples) and len(judged.scores) == len(PLANS)
    assert judged.scores[0].full.tolist() == [1.0, 1.0, 1.0, 1.0, 0.0]
    for plan, scores in zip(PLANS, judged.scores, strict=True):
        for place, sample in enumerate(samples):
            said = answer_under(plan, model, sample)
            assert scores.kept[place] == grade(sample, model.processor.decode(said)).value
            assert scores.agrees[place] == (said.tolist() == list(answers[sample.id].ids))
        assert scores.full.tolist() == judged.scores[0].full.tolist()
    assert [scores.retention for scores in judged.scores][0] == 1.0
    assert not judged.scores[2].agrees.all() and judged.scores[2].retention < 1.0  # or nothing was tested


def test_only_answers_that_change_are_generated(
    model: ProbedModel, samples: list[Sample], answers: dict[str, Answer], monkeypatch: pytest.MonkeyPatch
) -> None:
    generated = 0

    def counting(*arguments: object) -> torch.Tensor:
        nonlocal generated
        generated += 1
        return greedy_answer(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(judging, "greedy_answer", counting)
    judged = judge(Plans(answers, PLANS, "graded", TOKENS), model, samples)
    assert generated == sum(int((~scores.agrees).sum()) for scores in judged.scores) > 0
    judge(Plans(answers, PLANS, "likelihood", TOKENS), model, samples)
    assert generated == sum(int((~scores.agrees).sum()) for scores in judged.scores)


def test_likelihoods_are_those_of_plain_runs(
    model: ProbedModel, samples: list[Sample], answers: dict[str, Answer]
) -> None:
    judged = judge(Plans(answers, PLANS, "likelihood", TOKENS), model, samples)
    for plan, scores in zip(PLANS, judged.scores, strict=True):
        for place, sample in enumerate(samples):
            answer = answers[sample.id]
            assert answer.log_likelihood is not None
            with apply(model.model, plan):
                read = read_answer(model.model, model.inputs(sample), torch.tensor(answer.ids))
            drop = answer.log_likelihood - read.log_likelihood
            assert scores.drops[place] == pytest.approx(drop, abs=1e-5)
            assert scores.kept[place] == pytest.approx(min(1.0, math.exp(-TOKENS * drop)), abs=1e-4)
    assert judged.scores[2].retention < 0.9


def test_in_float32_the_noise_floor_is_nothing(
    model: ProbedModel, samples: list[Sample], answers: dict[str, Answer]
) -> None:
    """But it is measured: another kernel adds in another order."""
    floors = []
    for kernel in ("sdpa", "eager"):
        model.model.set_attn_implementation(kernel)
        judged = judge(Plans(answers, PLANS[:1], "likelihood", TOKENS), model, samples)
        assert judged.floor is not None and judged.noise_floor is not None
        floors.append(judged.floor)
        assert judged.noise_floor < 1e-5
        np.testing.assert_allclose(judged.scores[0].full, 1.0 - judged.floor)
        assert model.model.config._attn_implementation == kernel
    model.model.set_attn_implementation("sdpa")
    assert np.concatenate(floors).max() > 0.0


def test_grades_have_no_floor_unless_it_is_wanted(
    model: ProbedModel, samples: list[Sample], answers: dict[str, Answer]
) -> None:
    graded = {kind: judge(kind(answers, (MIXED,), "graded", TOKENS), model, samples) for kind in (Plans, HeldOutCheck)}
    with_floor = [kind for kind, judged in graded.items() if judged.floor is not None]
    assert with_floor == [kind for kind in graded if kind.always_with_floor]
    assert graded[Plans].scores[0].kept.tolist() == graded[HeldOutCheck].scores[0].kept.tolist()


def test_an_answer_that_was_not_read_is_read(
    model: ProbedModel, samples: list[Sample], answers: dict[str, Answer]
) -> None:
    unread = {name: answer._replace(log_likelihood=None) for name, answer in answers.items()}
    found, expected = (judge(Plans(some, PLANS, "likelihood", TOKENS), model, samples) for some in (unread, answers))
    for one, other in zip(found.scores, expected.scores, strict=True):
        np.testing.assert_allclose(one.drops, other.drops, atol=1e-5)
        assert one.agrees.tolist() == other.agrees.tolist()


def test_longer_answers_lose_the_sum_over_their_tokens(model: ProbedModel, samples: list[Sample]) -> None:
    sample, losses = samples[0], []
    for count in (1, 6):
        ids = greedy_answer(model.model, model.inputs(sample), count)
        answer = {sample.id: Answer(tuple(ids.tolist()), None)}
        scores = judge(Plans(answer, (BOLD,), "likelihood", count), model, [sample]).scores[0]
        losses.append(-math.log(scores.kept[0]))
        assert losses[-1] == pytest.approx(max(0.0, count * scores.drops[0]), abs=1e-6)
    assert losses[1] > losses[0]


def test_no_samples_and_no_plans(model: ProbedModel, samples: list[Sample], answers: dict[str, Answer]) -> None:
    nothing = HeldOutCheck({}, PLANS, "likelihood", TOKENS).combine({})
    assert nothing.samples == () and [len(scores.kept) for scores in nothing.scores] == [0, 0, 0]
    assert judge(Plans(answers, (), "graded", TOKENS), model, samples).scores == ()


def test_items_are_stored_under_their_plans(answers: dict[str, Answer]) -> None:
    step = Plans(answers, PLANS, "graded", TOKENS)
    assert step.key == replace(step).key != replace(step, tried=PLANS[::-1]).key != replace(step, tried=()).key
    assert HeldOutCheck(answers, PLANS, "graded", TOKENS).key != step.key
