"""Every family's mapping from visual tokens to regions, against what the tokens of a position-coloured image see."""

from collections.abc import Sequence
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from halfv_core import Family
from halfv_core.families import FAMILIES
from halfv_core.processors import PromptProcessor
from probe.capture.regions import REGIONS, regions_of
from probe.common.region import Region
from tests.position_colours import NOWHERE, SETUPS, coloured, looking, seen
from tests.tiny import IMAGE, VIDEO, tiny_model, tiny_prompt

SETUP = pytest.mark.parametrize("name", SETUPS)
SHAPES = {
    "square": [(64, 64)],
    "wide": [(200, 50)],
    "tall": [(45, 170)],
    "odd": [(97, 61)],
    "tiny": [(24, 20)],
    "large": [(700, 500)],
    "several": [(120, 40), (33, 90), (64, 60)],
}


@cache
def model_of(name: str) -> PreTrainedModel:
    return looking(SETUPS[name])


def mapped(
    name: str, model: PreTrainedModel, inputs: dict[str, torch.Tensor], sizes: Sequence[tuple[int, int]]
) -> tuple[Region | None, ...] | None:
    processor = PromptProcessor(SimpleNamespace(image_processor=SETUPS[name].processor))
    return regions_of(model, processor, inputs, sizes)


def compare(
    regions: tuple[Region | None, ...] | None, colours: torch.Tensor, sizes: Sequence[tuple[int, int]]
) -> list[int]:
    """Compare each token's colour with its region; returns the image of each region, in order."""
    assert regions is not None
    assert len(regions) == len(colours)
    order = []
    for region, colour in zip(regions, colours.tolist(), strict=True):
        *weighted, share = colour
        if share == NOWHERE:
            assert region is None
        elif region is None:
            assert share < 0.1  # padding, except for what resizing blurs into it
        else:
            order.append(region.image)
            if share < 0.2:
                continue
            centres = (region.left + region.right) / 2, (region.top + region.bottom) / 2
            for place, centre, pixels in zip(weighted, centres, sizes[region.image], strict=True):
                # Colours have 8 bits, and resizing looks no further than the first and last pixel, or into padding.
                blur = 0.01 if share > 0.99 else 0.04
                assert place / share == pytest.approx(centre, abs=blur + 0.3 / pixels)
    assert order == sorted(order)
    return order


def check(name: str, sizes: Sequence[tuple[int, int]]) -> None:
    model = model_of(name)
    inputs, colours = seen(SETUPS[name], model, [coloured(*size) for size in sizes])
    assert set(compare(mapped(name, model, inputs, sizes), colours, sizes)) == set(range(len(sizes)))


@SETUP
@pytest.mark.parametrize("shape", SHAPES)
def test_tokens_see_what_their_region_says(name: str, shape: str) -> None:
    check(name, SHAPES[shape])


@SETUP
@settings(max_examples=12, deadline=None)
@given(sizes=st.lists(st.tuples(st.integers(20, 260), st.integers(20, 260)), min_size=1, max_size=2))
def test_whatever_the_sizes(name: str, sizes: list[tuple[int, int]]) -> None:
    check(name, sizes)


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "qwen3_vl"])
def test_frames_of_a_video_are_taken_in_pairs(name: str) -> None:
    model: Any = model_of(name)
    inputs, _ = seen(SETUPS[name], model, [coloured(96, 64)] * 2)  # as two pairs of frames
    _, rows, columns = inputs.pop("image_grid_thw")[0].tolist()
    grids, pixels = torch.tensor([[2, rows, columns]]), inputs.pop("pixel_values")
    with torch.no_grad():
        found = model.model.get_video_features(pixel_values_videos=pixels, video_grid_thw=grids)
    inputs |= {"pixel_values_videos": pixels, "video_grid_thw": grids}
    inputs["input_ids"][inputs["input_ids"] == IMAGE] = VIDEO
    sizes = [(96, 64)] * 4
    assert set(compare(mapped(name, model, inputs, sizes), torch.cat(list(found.pooler_output)), sizes)) == {0, 2}


def test_frames_of_a_video_are_pooled() -> None:
    name = "llava_onevision"
    model: Any = model_of(name)
    inputs, _ = seen(SETUPS["llava stretched"], model_of("llava stretched"), [coloured(70, 90)] * 3)
    videos = inputs["pixel_values"][None]  # (1, frames, 3, 32, 32)
    with torch.no_grad():
        (colours,) = model.model.get_video_features(pixel_values_videos=videos).pooler_output
    ids = torch.full((1, len(colours)), VIDEO)
    prompt = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values_videos": videos}
    sizes = [(70, 90)] * 3
    assert set(compare(mapped(name, model, prompt, sizes), colours, sizes)) == {0, 1, 2}


def test_every_family_has_a_mapping_that_is_tested() -> None:
    assert set(REGIONS) == set(FAMILIES) == {setup.family for setup in SETUPS.values()}


def test_a_family_without_a_mapping_has_no_regions() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    model.config.model_type = "homemade"
    family = Family("Homemade", ("llama",), ("image_token_id",))
    assert (
        regions_of(model, PromptProcessor(SimpleNamespace(image_processor=None)), inputs, [(9, 9)], family=family)
        is None
    )


@pytest.mark.parametrize("name", SETUPS)
def test_another_kind_of_processor_gives_no_regions(name: str) -> None:
    """Inputs that the mapping cannot explain: one visual token too many, and missing processor settings."""
    model = model_of(name)
    inputs, _ = seen(SETUPS[name], model, [coloured(90, 60)])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], inputs["input_ids"][:, 1:2]], 1)
    assert mapped(name, model, inputs, [(90, 60)]) is None
    bare = PromptProcessor(SimpleNamespace(image_processor=SimpleNamespace()))
    inputs = {name: value for name, value in inputs.items() if name in ("input_ids", "attention_mask")}
    assert regions_of(model, bare, inputs, [(90, 60)]) is None
