"""Calibrations of degenerate models and data, each with a defined outcome."""

import json
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import PreTrainedModel

from halfv_core import Plan, Profile, apply
from halfv_core.errors import DataError, ModelError
from halfv_core.families import family_of, parts_of
from halfv_core.models import LoadedModel, load_model
from probe import calibrate, load_samples
from probe.calibration.calibrate import Settings
from probe.data.samples import Sample
from probe.report import Subject, render
from tests.checkpoints import save_checkpoint
from tests.unit.probe.calibration.test_calibrate import write_samples

SETTINGS = Settings(samples=6, held_out=0.34, max_new_tokens=2, entropy_k=5)


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedModel:
    return load_model(str(save_checkpoint("llava", tmp_path / "model")))


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    return load_samples(write_samples(tmp_path, 6))


def run(loaded: LoadedModel, samples: list[Sample], settings: Settings = SETTINGS) -> Profile:
    """Calibrate; check that the profile can be written, read, drawn and applied."""
    profile = calibrate(loaded.model, loaded.processor, samples, settings, model_id="m")
    assert Profile.model_validate_json(profile.model_dump_json()) == profile
    assert "Stage" in render([Subject(profile)])
    with apply(loaded.model, profile):
        loaded.model(**loaded.processor.prompt(samples[0].open_images(), "w8 w9"))
    return profile


def shortened(model: PreTrainedModel, layers: int) -> None:
    """Remove all but the first layers of the decoder."""
    decoder = attrgetter(family_of(model).decoder)(model)
    decoder.layers = decoder.layers[:layers]
    model.config.get_text_config().num_hidden_layers = layers


def test_a_model_of_two_layers(loaded: LoadedModel, samples: list[Sample]) -> None:
    shortened(loaded.model, 2)
    profile = run(loaded, samples)
    assert profile.layers == 2
    assert (profile.stages.aggregation_start, profile.stages.saturation_start) == (1, None)
    assert profile.saturation.type == "none"


def test_a_model_of_one_layer_is_refused(loaded: LoadedModel, samples: list[Sample]) -> None:
    shortened(loaded.model, 1)
    with pytest.raises(ModelError, match="a decoder this short has no stages; got 1 layer; expected 2 or more"):
        run(loaded, samples)


def test_two_samples(loaded: LoadedModel, samples: list[Sample]) -> None:
    profile = run(loaded, samples[:2], SETTINGS.model_copy(update={"held_out": 0.0}))
    assert len(profile.provenance.sample_ids) == 2
    assert profile.uncertainty is not None and not profile.uncertainty.enough
    assert profile.uncertainty.verdict in profile.cautions


def test_one_sample_is_refused(loaded: LoadedModel, samples: list[Sample]) -> None:
    with pytest.raises(DataError, match="too few samples to calibrate on; got 1; expected 2 or more"):
        run(loaded, samples[:1])


def test_layers_that_do_nothing_have_constant_curves(loaded: LoadedModel, samples: list[Sample]) -> None:
    """All curves are flat, and pruning at any layer changes nothing."""
    with torch.no_grad():
        for layer in parts_of(loaded.model).layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
    profile = run(loaded, samples)
    for curve in (profile.curves.visual, profile.curves.text, profile.curves.joint):
        assert max(curve.mean) - min(curve.mean) < 1e-6
    assert set(profile.curves.kl.mean) == {0.0}
    assert (profile.stages.aggregation_start, profile.stages.saturation_start) == (1, None)
    assert "no Stage III" in profile.stages.evidence["saturation_start"]
    assert all(test.agreement == 1.0 for test in profile.pruning_tests)
    assert profile.plan == max(profile.pruning_tests, key=lambda test: test.flops_ratio).plan


def test_questions_that_do_not_need_the_picture(loaded: LoadedModel, tmp_path: Path) -> None:
    """Without attention, no answer depends on visual tokens; every plan would look harmless, so none is taken."""
    with torch.no_grad():
        for layer in parts_of(loaded.model).layers:
            layer.self_attn.o_proj.weight.zero_()
    settings = SETTINGS.model_copy(update={"samples": 13, "held_out": 0.2, "certify": 1})
    profile = run(loaded, load_samples(write_samples(tmp_path, 14)), settings)
    causes, certificate = profile.causes, profile.certificate
    assert causes is not None and certificate is not None
    assert (causes.verdict, causes.control, causes.samples) == ("picture_not_needed", pytest.approx(0.0, abs=1e-5), 11)
    assert causes.sentence.startswith("These questions do not need the picture: without any visual token, the answers")
    assert profile.cautions[0] == causes.sentence
    assert (profile.plan, profile.search) == (Plan(()), None)
    assert [test.plan for test in profile.pruning_tests] == [Plan(())]
    assert profile.saturation.type == "none" and "do not need the picture" in profile.saturation.reason
    assert not {"search", "plans", "held-out"} & set(profile.provenance.seconds_by_step)
    assert (certificate.samples, certificate.retention, certificate.proven_plan) == (3, 1.0, None)
    assert certificate.sentence == "The plan changes nothing, so that it keeps everything."
    assert (profile.expected.agreement, profile.expected.flops_ratio) == (1.0, 1.0)


def test_pictures_that_all_look_alike(loaded: LoadedModel, tmp_path: Path, samples: list[Sample]) -> None:
    """Visual tokens that hardly differ have a finite entropy, not NaN."""
    for index in range(6):
        Image.new("RGB", (64, 64), (127, 127, 127)).save(tmp_path / f"{index}.png")
    assert all(value >= 0.0 for value in run(loaded, samples).curves.visual.mean)


def test_answers_that_end_at_once(loaded: LoadedModel, samples: list[Sample]) -> None:
    """The end token is the whole answer; a plan must keep it first."""
    loaded.model.generation_config.eos_token_id = list(range(loaded.model.config.get_text_config().vocab_size))
    profile = run(loaded, samples)
    assert profile.expected.agreement is not None


def test_no_share_to_try_prunes_nothing(loaded: LoadedModel, samples: list[Sample]) -> None:
    profile = run(loaded, samples, SETTINGS.model_copy(update={"keep_ratios": (1.0,)}))
    assert profile.utility is None
    assert not any(keep.layer == profile.stages.aggregation_start for keep in profile.plan.keeps)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_model_that_overflows_is_refused_with_the_remedy(
    value: float, loaded: LoadedModel, samples: list[Sample]
) -> None:
    with torch.no_grad():
        parts_of(loaded.model).layers[2].mlp.down_proj.weight[0, 0] = value
    remedy = "layer input 3; load the model in bfloat16 or float32"
    with pytest.raises(
        DataError, match=f"4 of 4 samples cannot be used; got .* and 1 more: .* not finite; .* {remedy}"
    ):
        run(loaded, samples)


class _Overflow(torch.nn.Module):
    """Overflows in one forward pass over a prompt, as may happen in float16."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.calls = calls

    def forward(self, hidden: Any) -> Any:
        self.calls -= hidden.shape[1] > 1
        return hidden * float("inf") if self.calls == 0 else hidden


def test_one_sample_that_overflows_is_named_and_passed_over(loaded: LoadedModel, samples: list[Sample]) -> None:
    layer = parts_of(loaded.model).layers[1]
    layer.mlp = torch.nn.Sequential(layer.mlp, _Overflow(1))
    profile = calibrate(loaded.model, loaded.processor, samples, SETTINGS)
    assert profile.provenance.rejected == 1
    assert "not finite" in profile.provenance.rejected_first[0]
    assert len(profile.provenance.sample_ids) == 3


def test_a_question_whose_picture_makes_no_visual_token_is_named(tmp_path: Path, loaded: LoadedModel) -> None:
    """Text alone says nothing about images, so a row without an image is rejected and reported."""
    path = write_samples(tmp_path, 6)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    del rows[2]["image"]
    path.write_text("\n".join(map(json.dumps, rows)))
    profile = calibrate(loaded.model, loaded.processor, load_samples(path), SETTINGS)
    assert (profile.provenance.rejected, profile.provenance.rejected_first) == (
        1,
        ("line 3: no image; got columns id, question, answer, family",),
    )
    assert "s2" not in (*profile.provenance.sample_ids, *profile.provenance.held_out_ids)


def test_without_any_kl_curve_there_is_one_clear_line(loaded: LoadedModel, samples: list[Sample]) -> None:
    layer = parts_of(loaded.model).layers[1]
    layer.mlp = torch.nn.Sequential(layer.mlp, _Overflow(1))
    settings = SETTINGS.model_copy(update={"kl_samples": 1})
    with pytest.raises(DataError, match=r"no sample has a KL curve; got none of the first 1 .*; raise kl_samples \("):
        calibrate(loaded.model, loaded.processor, samples, settings)
