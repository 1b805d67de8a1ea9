"""Examples for the report, compared with the runtime, the model's own attention, and the image itself."""

import base64
import io
from pathlib import Path

import pytest
import torch
from PIL import Image

from halfv_core import Family, Keep, Plan, apply
from halfv_core.models import LoadedModel, load_model
from halfv_core.records import Stages
from halfv_core.runtime.layout import TokenLayout
from probe.calibration.observations import Example
from probe.calibration.steps.answer import Answer
from probe.calibration.steps.examples import MAX_SIDE, Examples, attended_layers, choose_examples
from probe.calibration.steps.step import ProbedModel
from probe.capture.attention import attention_of_last
from probe.data.samples import Sample, load_samples
from probe.trials.answers import greedy_answer
from tests.checkpoints import READABLE, save_checkpoint
from tests.pictures import noise
from tests.tiny import IMAGE, tiny_model, tiny_prompt
from tests.unit.probe.calibration.test_calibrate import write_samples

PLAN = Plan(
    (
        Keep(layer=1, keep_ratio=0.75, options={"anchor_share": 0.4}),
        Keep(layer=3, keep_ratio=0.25, selector="attention"),
        Keep(layer=4, keep_ratio=0.1, selector="uniform"),
    )
)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return list(load_samples(write_samples(tmp_path_factory.mktemp("data"), 4)))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(str(save_checkpoint("llava", tmp_path_factory.mktemp("model"))))


def make_example(loaded: LoadedModel, sample: Sample, plan: Plan = PLAN) -> Example:
    inputs = loaded.processor.prompt(sample.open_images(), sample.prompt)
    answers = {sample.id: Answer(tuple(greedy_answer(loaded.model, inputs, 4).tolist()), 0.0)}
    step = Examples(answers, plan, layers=(0, 3), max_new_tokens=4)
    item = step.measure(ProbedModel(loaded.model, loaded.processor), sample)
    (found,) = step.combine({sample.id: item})
    return found


@pytest.mark.parametrize("family", READABLE)
def test_attention_is_the_models_own(family: str) -> None:
    model, inputs = tiny_model(family, kernel="eager"), tiny_prompt(family, images=2)
    visual = inputs["input_ids"][0] == IMAGE
    with torch.no_grad():
        whole = model(**inputs, output_attentions=True).attentions
    found = attention_of_last(model, inputs, (0, 3))
    assert sorted(found) == [0, 3]
    for layer, shares in found.items():
        torch.testing.assert_close(shares, whole[layer][0, :, -1].mean(0)[visual], atol=1e-5, rtol=1e-4)


def test_selections_are_what_the_runtime_kept(loaded: LoadedModel, samples: list[Sample]) -> None:
    example = make_example(loaded, samples[0])
    inputs = loaded.processor.prompt(samples[0].open_images(), samples[0].prompt)
    visual = TokenLayout.find(inputs["input_ids"], [IMAGE]).visual[0].nonzero().squeeze(1)
    with torch.no_grad(), apply(loaded.model, PLAN) as run:
        loaded.model(**inputs)
    for selection in example.selections:
        assert visual[list(selection.kept)].tolist() == run.kept[selection.layer][0].tolist()
    coverage, attention, uniform = example.selections
    assert [len(selection.kept) for selection in example.selections] == [12, 4, 1]
    assert len(coverage.anchors) == 4  # floor(12 * 0.4)
    assert set(coverage.anchors) < set(coverage.kept)
    assert attention.anchors == attention.kept
    assert uniform.anchors == ()


def test_anchors_are_those_attended_to_most(loaded: LoadedModel, samples: list[Sample]) -> None:
    plan = Plan((Keep(layer=1, keep_ratio=0.75, options={"anchor_share": 0.4, "rope": True}),))
    example = make_example(loaded, samples[0], plan)
    shares = dict(enumerate(example.attentions[0].shares))  # of layer 0, where the selector looks
    assert set(example.selections[0].anchors) == set(sorted(shares, key=shares.__getitem__)[-4:])


def test_answers_and_picture(loaded: LoadedModel, samples: list[Sample]) -> None:
    sample = samples[0]
    example, idle = make_example(loaded, sample), make_example(loaded, sample, Plan(()))
    assert idle.full == idle.accelerated == example.full
    assert (idle.selections, example.question, example.references) == ((), sample.prompt, sample.answers)
    (picture,), (image,) = example.pictures, sample.open_images()
    assert (picture.width, picture.height) == image.size
    with Image.open(io.BytesIO(base64.b64decode(picture.webp))) as shown:
        assert shown.format == "WEBP"
        assert max(shown.size) <= MAX_SIDE


def test_large_pictures_are_kept_small(loaded: LoadedModel, tmp_path: Path) -> None:
    noise(900, 300, 90).save(tmp_path / "large.png")
    sample = Sample(id="a", images=[tmp_path / "large.png"], question="w3 w4")
    (picture,) = make_example(loaded, sample).pictures
    assert (picture.width, picture.height) == (900, 300)
    data = base64.b64decode(picture.webp)
    with Image.open(io.BytesIO(data)) as shown:
        assert shown.size == (MAX_SIDE, 149)
    assert len(data) < 60_000


def test_a_model_without_a_mapping_has_no_examples(
    loaded: LoadedModel, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded.model.config, "model_type", "homemade")
    family = Family("Homemade", ("llama",), ("image_token_id",))
    step = Examples({samples[0].id: Answer((3,), 0.0)}, PLAN, layers=(0,), max_new_tokens=2)
    found = step.combine({"a": step.measure(ProbedModel(loaded.model, loaded.processor, family), samples[0])})
    assert found == ()


def sample(name: str, family: str | None) -> Sample:
    return Sample(id=name, images=[Path("none.png")], question="q", family=family)


def test_choice_covers_families_and_a_changed_answer() -> None:
    pool = [
        sample("a", "colour"),
        sample("b", "colour"),
        sample("c", "colour"),
        sample("d", "count"),
        sample("e", None),
    ]

    def names(changed: set[str], count: int) -> list[str]:
        return [chosen.id for chosen in choose_examples(pool, changed, count)]

    assert names(set(), 3) == ["a", "d", "e"]
    assert names(set(), 9) == ["a", "d", "e", "b", "c"]
    assert names({"c", "b"}, 3) == ["b", "d", "e"]
    assert names({"d"}, 1) == ["d"]
    assert names({"d"}, 0) == []


def test_attention_is_read_before_stage_two_and_in_stage_three() -> None:
    assert attended_layers(Stages(aggregation_start=3, saturation_start=9, evidence={})) == (2, 9)
    assert attended_layers(Stages(aggregation_start=3, saturation_start=None, evidence={})) == (2,)
    assert attended_layers(Stages(aggregation_start=0, saturation_start=None, evidence={})) == (0,)
