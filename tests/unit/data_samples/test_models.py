"""Shipped models load like hub checkpoints and answer held-out questions as well as their cards say."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

from data_samples.making.training.evaluate import chance, markdown
from data_samples.studies.results import PROFILES
from halfv_core import Plan, Profile, apply
from halfv_core.models import LoadedModel, load_model
from probe import load_samples
from probe.data.samples import Sample
from probe.evaluation.evaluate import evaluate
from tests.checkpoints import TORCHVISION

MODELS = Path(__file__).parents[3] / "data_samples" / "models"
CLASSES = {
    "tiny-llava": ("LlavaForConditionalGeneration", "llama", 196),
    "tiny-llava-next": ("LlavaNextForConditionalGeneration", "mistral", 259),
    "tiny-qwen2.5-vl": ("Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl_text", 196),
}


@pytest.fixture(scope="module", params=sorted(CLASSES))
def loaded(request: pytest.FixtureRequest) -> LoadedModel:
    return load_model(request.param, device="cpu")


def test_all_of_them_are_here_and_small() -> None:
    assert {path.parent.name for path in MODELS.glob("*/config.json")} == set(CLASSES)
    assert sum(path.stat().st_size for path in MODELS.rglob("*")) < 40e6


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_the_folder_is_complete(name: str) -> None:
    files = {path.name for path in (MODELS / name).iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors"} <= files
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "README.md"} <= files
    assert files & {"preprocessor_config.json", "processor_config.json"}


def test_they_are_deep_enough_and_float32(loaded: LoadedModel) -> None:
    kind, text, visual = CLASSES[loaded.name]
    config = loaded.model.config.text_config
    assert (type(loaded.model).__name__, config.model_type) == (kind, text)
    assert config.num_hidden_layers >= 12
    assert (config.num_key_value_heads < config.num_attention_heads) == (text != "llama")
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    assert AutoTokenizer.from_pretrained(MODELS / loaded.name).chat_template
    inputs = loaded.processor.prompt([Image.new("RGB", (224, 224), "white")], "Is there a star?")
    assert int((inputs["input_ids"] == loaded.model.config.image_token_id).sum()) == visual >= 196


@pytest.mark.parametrize("name", ["tiny-llava", "tiny-llava-next"])
def test_transformers_loads_model_and_processor_by_itself(name: str) -> None:
    model = AutoModelForImageTextToText.from_pretrained(MODELS / name)
    processor = AutoProcessor.from_pretrained(MODELS / name)
    image = load_samples("scenes")[0].open_images()[0]
    content = [{"type": "image"}, {"type": "text", "text": "Is there a star?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(images=[image], text=text, return_tensors="pt")
    ours = load_model(name, device="cpu")
    expected = ours.processor.prompt([image], "Is there a star?")
    assert all(torch.equal(inputs[key], expected[key]) for key in ("input_ids", "pixel_values"))
    with torch.no_grad():
        assert torch.equal(model(**inputs).logits, ours.model(**expected).logits)


@pytest.mark.parametrize("size", [(160, 160), (640, 640), (300, 200), (64, 96), (448, 150)])
def test_pictures_of_any_shape_become_visual_tokens(loaded: LoadedModel, size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, "white")
    inputs = loaded.processor.prompt([image], "Is there a star?")
    visual = int((inputs["input_ids"] == loaded.model.config.image_token_id).sum())
    assert 80 <= visual <= 300
    with torch.no_grad():
        loaded.model(**inputs)  # refuses, if features and placeholders differ in number


@pytest.mark.skipif(not TORCHVISION, reason="needs torchvision; run make test-torchvision")
def test_a_profile_serves_pillow_and_torchvision() -> None:
    """The shipped profiles were made with Pillow's pixels."""
    for name in CLASSES:
        loaded = load_model(name, device="cpu")
        backend: Any = loaded.processor.backend
        resizers = [AutoImageProcessor.from_pretrained(MODELS / name, backend=kind) for kind in ("torchvision", "pil")]
        with apply(loaded.model, Profile.load(PROFILES / f"{name}.json")) as run:
            for sample in load_samples("scenes-heldout")[:21:3]:
                image, found = sample.open_images()[0].resize((437, 359)), []
                for backend.image_processor in resizers:
                    inputs = loaded.processor.prompt([image], sample.prompt)
                    ids = loaded.model.generate(**inputs, max_new_tokens=8, do_sample=False)[0].tolist()
                    found.append((ids, {layer: set(rows[0].tolist()) for layer, rows in run.kept.items()}))
                (ids, kept), (other_ids, other_kept) = found
                assert ids == other_ids
                for layer, tokens in kept.items():
                    assert len(tokens & other_kept[layer]) >= 0.7 * len(tokens | other_kept[layer])


def test_held_out_accuracy_on_a_leading_part(loaded: LoadedModel) -> None:
    """Families take turns in the listing, so its first 70 rows have ten of each."""
    samples = load_samples("scenes-heldout")[:70]
    found = evaluate(loaded.model, loaded.processor, samples, Plan(()))
    assert found.mean >= 0.85
    assert sum(found.accuracy[name] for name in ("existence", "attribute", "place", "where")) >= 4 * 0.95
    assert "| mean over families |" in markdown(samples, found)


def test_a_blank_picture_is_not_answered_from_the_question_alone(loaded: LoadedModel, tmp_path: Path) -> None:
    Image.new("RGB", (224, 224), "white").save(tmp_path / "blank.png")
    samples = [sample for sample in load_samples("scenes-heldout") if sample.family in ("where", "reading")][:20]
    blank = [sample.model_copy(update={"images": (tmp_path / "blank.png",)}) for sample in samples]
    assert sum(evaluate(loaded.model, loaded.processor, blank, Plan(())).grades) <= 6


def test_chance_is_the_share_of_the_most_common_answer() -> None:
    samples = [Sample(id=str(i), images=(Path("x"),), question="q", answer=a, family="f") for i, a in enumerate("aab")]
    assert chance(samples, "f") == pytest.approx(2 / 3)
