"""Causal curves of tiny models: what must lose nothing, and every loss next to a plain run under its plan."""

import math

import numpy as np
import pytest
import torch

from halfv_core import apply
from halfv_core.models import load_model
from probe.analyzers.causal_curves import TREATMENTS, causal_plans, tried_layers
from probe.calibration.budget.budget import Work
from probe.calibration.steps.answer import Answer
from probe.calibration.steps.causal_curves import CausalCurves, MeasuredCauses
from probe.calibration.steps.step import ProbedModel
from probe.data.samples import Sample, load_samples
from probe.trials.answers import greedy_answer, read_answer
from tests.checkpoints import save_checkpoint
from tests.tiny import LAYERS
from tests.unit.probe.calibration.test_calibrate import write_samples

TOKENS = 3


@pytest.fixture(scope="module", params=["llava", "qwen2_5_vl"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ProbedModel:
    loaded = load_model(str(save_checkpoint(request.param, tmp_path_factory.mktemp("model"))), device="cpu")
    return ProbedModel(loaded.model, loaded.processor)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return list(load_samples(write_samples(tmp_path_factory.mktemp("data"), 3)))


@pytest.fixture(scope="module")
def answers(model: ProbedModel, samples: list[Sample]) -> dict[str, Answer]:
    found = {}
    for sample in samples:
        ids = greedy_answer(model.model, model.inputs(sample), TOKENS)
        found[sample.id] = Answer(
            tuple(ids.tolist()), read_answer(model.model, model.inputs(sample), ids).log_likelihood
        )
    return found


def measured(step: CausalCurves, model: ProbedModel, samples: list[Sample]) -> MeasuredCauses:
    return step.combine({sample.id: step.measure(model, sample) for sample in samples})


def test_losses_are_those_of_plain_runs(model: ProbedModel, samples: list[Sample], answers: dict[str, Answer]) -> None:
    step = CausalCurves(answers, LAYERS, 0.25, by_curves=None)
    found = measured(step, model, samples)
    assert found.losses.layers == tried_layers(LAYERS) == (1, 2, 3, 4)
    assert step.plans == tuple(causal_plans((1, 2, 3, 4), LAYERS, 0.25)) and len(found.readings) == 13
    table = np.concatenate([found.losses.control[None], *(found.losses.losses[name] for name in TREATMENTS)])
    for plan, row in zip(step.plans, table, strict=True):
        for sample, loss in zip(samples, row.tolist(), strict=True):
            answer = answers[sample.id]
            with apply(model.model, plan):
                read = read_answer(model.model, model.inputs(sample), torch.tensor(answer.ids))
            assert answer.log_likelihood is not None
            fall = TOKENS * (answer.log_likelihood - read.log_likelihood)
            assert loss == pytest.approx(1 - math.exp(-max(0.0, fall)), abs=1e-4)
    assert found.losses.control.max() > 0.05  # or the picture gave nothing


def test_freezing_the_last_layer_loses_nothing(
    model: ProbedModel, samples: list[Sample], answers: dict[str, Answer]
) -> None:
    """Nothing reads what visual tokens would have become there."""
    losses = measured(CausalCurves(answers, LAYERS, 0.25, None), model, samples).losses
    np.testing.assert_allclose(losses.losses["freeze"][-1], 0.0, atol=1e-5)
    assert losses.losses["freeze"][0].max() > 1e-3


def test_keeping_all_tokens_loses_nothing(
    model: ProbedModel, samples: list[Sample], answers: dict[str, Answer]
) -> None:
    losses = measured(CausalCurves(answers, LAYERS, 1.0, None), model, samples).losses
    np.testing.assert_allclose(losses.losses["few"], 0.0, atol=1e-5)
    np.testing.assert_allclose(losses.use_kept("few"), 1.0, atol=1e-4)


def test_dropping_from_the_first_layer_on_is_the_control(
    model: ProbedModel, samples: list[Sample], answers: dict[str, Answer]
) -> None:
    """As if the treatment `drop` began at layer 0, where the other treatments cannot begin."""
    step = CausalCurves(answers, LAYERS, 0.25, None)
    found = measured(step, model, samples)
    (dropped,) = (reading for plan, reading in zip(step.plans, found.readings, strict=True) if plan.first_layer == 0)
    assert found.readings[0] is dropped
    expected = 1 - np.exp(-np.maximum(0.0, TOKENS * np.array(dropped.drops)))
    np.testing.assert_allclose(found.losses.control, expected)


def test_the_layer_of_the_curves_is_tried_in_any_case() -> None:
    deep = CausalCurves({}, 80, 0.05, by_curves=40)
    assert set(deep.starts) == {*tried_layers(80), 40} and list(deep.starts) == sorted(deep.starts)
    less = deep.reduced_to(Work(8, 2, 8, 8, causes=False))
    assert less.starts == (40,) and len(less.plans) == 4
    assert deep.reduced_to(Work(8, 2, 8, 8)) is deep
    assert CausalCurves({}, 30, 0.05, None, everywhere=False).starts == (20,)
    assert CausalCurves({}, 2, 0.05, None).starts == (1,)
