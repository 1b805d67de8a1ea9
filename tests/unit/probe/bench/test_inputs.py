"""Synthetic inputs have the promised number of visual tokens, and the model takes them."""

import pytest
import torch
from transformers import LlavaOnevisionConfig, Mistral3Config

from halfv_core import Keep, Plan, apply
from halfv_core.errors import UnsupportedError
from halfv_core.families import FAMILIES
from probe.bench.inputs import IMAGE_MAKERS, synthetic_inputs
from probe.bench.synthetic import config_of
from tests.tiny import IMAGE, tiny_model

GRIDS = ("idefics3", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "smolvlm")
"""Families whose tiny images can have more than 16 tokens."""


def test_every_family_has_inputs() -> None:
    assert set(IMAGE_MAKERS) == set(FAMILIES)


@pytest.mark.parametrize("family", sorted(IMAGE_MAKERS))
@torch.no_grad()
def test_the_model_sees_the_visual_tokens_that_were_promised(family: str) -> None:
    model = tiny_model(family)
    inputs = synthetic_inputs(model, visual_tokens=48, text_tokens=9, batch=2)
    visual = 48 if family in GRIDS else 16
    assert (inputs["input_ids"] == IMAGE).sum(1).tolist() == [visual, visual]
    assert inputs["input_ids"].shape == (2, visual + 9)
    with apply(model, Plan((Keep(layer=1, keep_ratio=0.5),))) as run:
        logits = model(**inputs).logits
    assert logits.shape[:2] == (2, visual + 9) and bool(logits.isfinite().all())
    assert [len(row) for row in run.kept[1]] == [visual // 2] * 2
    assert not torch.equal(*inputs["pixel_values"].chunk(2))


@pytest.mark.parametrize("wanted, got", [(1, 1), (1200, 1200), (1201, 1200), (997, 999), (40, 40)])
def test_a_grid_is_the_nearest_that_is_not_a_strip(wanted: int, got: int) -> None:
    tokens, image = IMAGE_MAKERS["qwen2_5_vl"](config_of("qwen2.5-vl-7b"), wanted, torch.Generator())
    _, height, width = image["image_grid_thw"][0].tolist()
    assert tokens == got == height * width // 4 and height <= width <= 2 * height + 2
    assert image["pixel_values"].shape == (height * width, 3 * 2 * 14 * 14)


@pytest.mark.parametrize("wanted, got", [(9999, 2928), (1200, 1200), (2880, 2928)])
def test_any_resolution_takes_the_nearest_size_of_image(wanted: int, got: int) -> None:
    tokens, image = IMAGE_MAKERS["llava_next"](config_of("llava-next-mistral-7b"), wanted, torch.Generator())
    assert tokens == got
    assert image["pixel_values"].shape[2:] == (3, 336, 336) and image["image_sizes"].shape == (1, 2)


def test_onevision_takes_no_more_tiles_than_stay_in_full_size() -> None:
    config = LlavaOnevisionConfig(image_grid_pinpoints=[[384, 384], [768, 1152], [2304, 2304]])
    tokens, image = IMAGE_MAKERS["llava_onevision"](config, 99999, torch.Generator())
    assert tokens == 27 * 27 + 2 * 27 * (3 * 27 + 1)
    assert image["pixel_values"].shape[1] == 7


def test_mistral_images_are_no_larger_than_the_tower_takes() -> None:
    tokens, image = IMAGE_MAKERS["mistral3"](Mistral3Config(), 99999, torch.Generator())
    assert (tokens, image["pixel_values"].shape[2:]) == (55 * 55, (1540, 1540))


def test_llava_images_all_have_576_tokens() -> None:
    assert IMAGE_MAKERS["llava"](config_of("llava-1.5-7b"), 1200, torch.Generator())[0] == 576


def test_what_cannot_be_built_is_said_in_one_line() -> None:
    other = tiny_model("llava")
    other.config.model_type = "other"
    with pytest.raises(UnsupportedError, match="unknown model_type for synthetic inputs; got 'other'; expected one of"):
        synthetic_inputs(other, visual_tokens=16)
    with pytest.raises(UnsupportedError, match="too little text around the image; got 3; expected 4"):
        synthetic_inputs(tiny_model("llava"), visual_tokens=16, text_tokens=3)
