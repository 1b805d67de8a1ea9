"""Shipped models load like hub checkpoints and answer held-out questions as well as their cards say."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer

from data_samples.training.evaluate import chance, markdown
from halfv_core import Plan
from halfv_core.models import LoadedModel, load_model
from probe import load_samples
from probe.evaluate import evaluate
from probe.samples import Sample

MODELS = Path(__file__).parents[3] / "data_samples" / "models"
MODEL = MODELS / "tiny-qwen2.5-vl"


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    return load_model(str(MODEL), device="cpu")


def test_the_folder_is_small_and_complete() -> None:
    files = {path.name: path.stat().st_size for path in MODEL.iterdir()}
    assert sum(files.values()) < 12e6
    assert {"config.json", "generation_config.json", "model.safetensors", "preprocessor_config.json"} <= set(files)
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "README.md"} <= set(files)


def test_it_is_a_deep_enough_float32_qwen_with_grouped_queries(loaded: LoadedModel) -> None:
    text = loaded.model.config.text_config
    assert type(loaded.model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    assert text.num_hidden_layers >= 12
    assert text.num_key_value_heads < text.num_attention_heads
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}
    assert AutoTokenizer.from_pretrained(MODEL).chat_template


@pytest.mark.parametrize("size", [(160, 160), (640, 640), (300, 200), (64, 96)])
def test_any_picture_becomes_about_a_hundred_visual_tokens(loaded: LoadedModel, size: tuple[int, int]) -> None:
    inputs = loaded.processor.prompt([Image.new("RGB", size, "white")], "Is there a star?")
    visual = int((inputs["input_ids"] == loaded.model.config.image_token_id).sum())
    assert visual == 100 if size[0] == size[1] else 60 <= visual <= 140


def test_held_out_accuracy_on_a_leading_part(loaded: LoadedModel) -> None:
    """Families take turns in the listing, so its first 70 rows have ten of each."""
    samples = load_samples("scenes-heldout")[:70]
    found = evaluate(loaded.model, loaded.processor, samples, Plan(()))
    assert found.mean >= 0.85
    assert sum(found.accuracy[name] for name in ("existence", "attribute", "place", "where")) >= 4 * 0.95
    assert "| mean over families |" in markdown(samples, found)


def test_a_blank_picture_is_not_answered_from_the_question_alone(loaded: LoadedModel, tmp_path: Path) -> None:
    Image.new("RGB", (160, 160), "white").save(tmp_path / "blank.png")
    samples = [sample for sample in load_samples("scenes-heldout") if sample.family in ("where", "reading")][:20]
    blank = [sample.model_copy(update={"images": (tmp_path / "blank.png",)}) for sample in samples]
    assert sum(evaluate(loaded.model, loaded.processor, blank, Plan(())).correct) <= 6


def test_chance_is_the_share_of_the_most_common_answer() -> None:
    samples = [Sample(id=str(i), images=(Path("x"),), question="q", answer=a, family="f") for i, a in enumerate("aab")]
    assert chance(samples, "f") == pytest.approx(2 / 3)
