"""The step `curves` on real models: which samples get a KL curve, and the sinks of the prompt that was run anyway."""

from collections.abc import Iterator

import pytest
import torch

from halfv_core.models import load_model
from probe.analyzers.tme import entropy_curves
from probe.calibration.steps.curves import Curves
from probe.calibration.steps.step import ProbedModel
from probe.capture.hidden_states import capture, each_state
from probe.data.samples import Sample, load_samples
from tests.checkpoints import save_checkpoint
from tests.unit.probe.calibration.test_calibrate import write_samples

FACTOR = 1000.0


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return load_samples(write_samples(tmp_path_factory.mktemp("data"), 3))


@pytest.fixture(params=["llava", "qwen2_5_vl"], scope="module")
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ProbedModel:
    loaded = load_model(str(save_checkpoint(request.param, tmp_path_factory.mktemp("model"))), device="cpu")
    return ProbedModel(loaded.model, loaded.processor)


def test_the_id_decides_whether_a_sample_gets_a_kl_curve(model: ProbedModel, samples: list[Sample]) -> None:
    everyone, few = Curves(5, 2), Curves(5, 2, kl_ids=frozenset({samples[1].id}))
    whole = {sample.id: everyone.measure(model, sample) for sample in samples}
    found = {sample.id: few.measure(model, sample) for sample in reversed(samples)}
    assert [found[sample.id]["kl"] is None for sample in samples] == [True, False, True]
    assert found[samples[1].id]["kl"] == whole[samples[1].id]["kl"]
    rest = [{name: value for name, value in item.items() if name not in ("kl", "seconds")} for item in whole.values()]
    assert [{name: found[sample.id][name] for name in rest[0]} for sample in samples] == rest
    assert few.combine(found).answers == {
        sample.id: everyone.combine(whole).answers[sample.id] for sample in reversed(samples)
    }
    for item in found.values():
        assert 0 <= item["seconds"]["kl"] and item["seconds"]["answer"] < item["seconds"]["sample"]


def test_entropies_are_those_of_normed_states_and_the_model_runs_once_for_them(
    model: ProbedModel, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    captured = []
    original = each_state

    def counted(*args: object, **kwargs: object) -> object:
        captured.append(kwargs)
        return original(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr("probe.calibration.steps.curves.each_state", counted)
    item = Curves(5, 2, kl_ids=frozenset()).measure(model, samples[0])
    states = capture(model.model, model.inputs(samples[0]))
    curves = entropy_curves(states.hidden, states.visual, k=5)
    assert (item["visual"], item["text"], item["joint"]) == tuple(curve.tolist() for curve in curves)
    assert len(captured) == 1
    for group in ("visual", "text"):
        tokens, _, without = item[f"{group}_sinks"]
        assert (set(tokens), without) == ({0}, item[group])


@pytest.fixture
def long_token(model: ProbedModel, samples: list[Sample]) -> Iterator[int]:
    """The last token of the prompt enters the decoder 1000 times as long."""
    inputs = model.inputs(samples[0])
    token = int(inputs["input_ids"][0, -1])
    weight = model.model.get_input_embeddings().weight
    with torch.no_grad():
        weight[token] *= FACTOR
    yield int((inputs["input_ids"][0] == token).sum())
    with torch.no_grad():
        weight[token] /= FACTOR


def test_a_long_text_token_is_a_text_sink(model: ProbedModel, samples: list[Sample], long_token: int) -> None:
    item = Curves(5, 2, kl_ids=frozenset()).measure(model, samples[0])
    tokens, ratio, without = item["text_sinks"]
    assert tokens[0] == long_token
    assert ratio[0] > FACTOR / 10
    assert without[0] != item["text"][0]
    assert set(item["visual_sinks"][0]) == {0}
