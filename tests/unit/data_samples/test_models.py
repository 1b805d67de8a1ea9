"""Shipped models load like hub checkpoints and answer held-out questions as well as their cards say."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer

from data_samples.training.evaluate import SCENES, answer, answer_all, read_samples, score
from halfv_core.models import LoadedModel, load_model

MODELS = Path(__file__).parents[3] / "data_samples" / "models"
MODEL = MODELS / "tiny-qwen2.5-vl"
HELDOUT = SCENES / "heldout.jsonl"


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
    rows = read_samples(HELDOUT)[:70]
    scores = score(rows, answer_all(loaded, HELDOUT, rows))
    assert sum(s.accuracy for s in scores.values()) / len(scores) >= 0.85
    basics = [scores[name] for name in ("existence", "attribute", "place", "where")]
    assert sum(s.hits for s in basics) >= 0.95 * sum(s.count for s in basics)


def test_a_blank_picture_is_not_answered_from_the_question_alone(loaded: LoadedModel) -> None:
    rows = [row for row in read_samples(HELDOUT) if row["family"] in ("where", "reading")][:20]
    blank = Image.new("RGB", (160, 160), "white")
    assert sum(answer(loaded, blank, row["question"]) == row["answer"] for row in rows) <= 6
