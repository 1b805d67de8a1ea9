"""Default settings give the numbers that their papers state, and run at LLaVA-1.5-7B's depth and number of tokens."""

from functools import cache
from typing import Any

import pytest
import torch
from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration

from halfv_core import apply
from halfv_core.cost import DecoderShape, tokens_by_layer
from halfv_core.methods import METHODS, Target
from halfv_core.methods.fitprune import SHIPPED
from tests.tiny import IMAGE, text_config

LLAVA_7B = Target("llava", DecoderShape(32, 4096, 4096, 4096, 11008, 2), 576, 64, tower_layers=24)
LLAVA_13B = Target("llava", DecoderShape(40, 5120, 5120, 5120, 13824, 2), 576, 64, tower_layers=24)
NEXT_VICUNA = Target("llava_next", DecoderShape(32, 4096, 4096, 4096, 11008, 2), 2880, 64, tower_layers=24)
NEXT_MISTRAL = Target("llava_next", DecoderShape(32, 4096, 4096, 1024, 14336, 2), 2880, 64, tower_layers=24)
QWEN_7B = Target("qwen2_5_vl", DecoderShape(28, 3584, 3584, 512, 18944, 2), 1200, 30, tower_layers=32)


@pytest.mark.parametrize(
    "name, target, ratio",
    [
        ("shortv", LLAVA_7B, 1 / 0.55),  # ShortV, table 1
        ("shortv", NEXT_VICUNA, 1 / 0.51),
        ("vtw", LLAVA_7B, 1 / 0.55),
        ("fastv", LLAVA_7B, 1 / 0.57),
        ("halfv", LLAVA_7B, 2.57),  # its release's settings, by this formula
        ("halfv", LLAVA_13B, 2.89),
        ("halfv", NEXT_MISTRAL, 3.40),
    ],
)
def test_the_default_costs_what_was_published(name: str, target: Target, ratio: float) -> None:
    assert target.flops_ratio(METHODS[name]().default(target)) == pytest.approx(ratio, rel=0.02)


@pytest.mark.parametrize("name", ["sparsevlm+", "clse"])
def test_192_tokens_on_average_leave_a_layer(name: str) -> None:
    """What goes into a layer is 207 and 208 on average."""
    rows = tokens_by_layer(METHODS[name]().default(LLAVA_7B), 32, 576, 64)
    assert sum(row.visual for row in (*rows[1:], rows[-1])) / 32 == pytest.approx(192, abs=0.5)


@pytest.mark.parametrize(
    "name, tokens",
    [
        ("visiondrop", 32),
        ("apet", 64),
        ("visionzip", 192),
        ("dart", (2 * 576 + 30 * 132) / 32),
        ("v2drop", (3 * 576 + 14 * 288 + 5 * 144 + 10) / 32),
        ("aim", (15 * 144 + 126 + 108 + 90 + 72 + 54 + 36 + 18) / 32),
    ],
)
def test_tokens_on_average_go_into_a_layer(name: str, tokens: float) -> None:
    rows = tokens_by_layer(METHODS[name]().default(LLAVA_7B), 32, 576, 64)
    assert sum(row.visual for row in rows) / 32 == pytest.approx(tokens, abs=0.1)


def test_contextual_tokens_are_those_of_the_script() -> None:
    from halfv_core.selectors import make_selector

    keeps = METHODS["visiondrop"]().default(LLAVA_7B).keeps
    found = [(make_selector(keep.selector, keep.options).anchors(keep.count(576)), keep.tokens) for keep in keeps]
    assert found == [(42, 48), (30, 35), (22, 26), (16, 19)]


@pytest.mark.parametrize("saved", [percent for percent in SHIPPED if percent])
def test_schedules_of_fitprune_save_what_they_say(saved: int) -> None:
    schedules = list(SHIPPED)
    plan = METHODS["fitprune"]().scaled(LLAVA_7B, 1 - schedules.index(saved) / (len(schedules) - 1))
    found = 1 - 1 / LLAVA_7B.cost(plan).visual_flops_ratio
    assert saved / 100 - 0.06 < found < saved / 100  # tokens leave one MLP later here
    assert saved < 50 or found == pytest.approx(saved / 100, abs=0.025)


@cache
def model_of_7b_depth() -> Any:
    """LLaVA with the layers and the visual tokens of LLaVA-1.5-7B, and small widths."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_attention_heads=2, num_hidden_layers=2, image_size=336, patch_size=14
    )
    text = text_config("llama") | {"num_hidden_layers": 32, "max_position_embeddings": 1024}
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE, image_seq_length=576)
    ).eval()
    model.generation_config.eos_token_id = None
    return model


@pytest.mark.parametrize("name", ["halfv", "shortv", "fastv", "vtw", "pyramiddrop", "dart", "fitprune", "visipruner"])
def test_the_default_runs_at_the_depth_of_a_7b_model(name: str) -> None:
    model = model_of_7b_depth()
    target = Target.of(model.config, 576, 64)
    plan = METHODS[name]().default(target)
    text = torch.randint(2, 59, (1, 64), generator=torch.Generator().manual_seed(0))
    ids = torch.cat([text[:, :35], torch.full((1, 576), IMAGE), text[:, 35:]], 1)
    with torch.no_grad(), apply(model, plan) as run:
        out = model.generate(input_ids=ids, pixel_values=torch.randn(1, 3, 336, 336), max_new_tokens=2)
    assert out.shape == (1, 642)
    if plan.is_known_beforehand:
        assert run.cost.flops_ratio == pytest.approx(target.flops_ratio(plan))
        assert {layer: len(rows[0]) for layer, rows in run.kept.items()} == {
            keep.layer: keep.count(576) for keep in plan.keeps
        }
    else:
        assert run.cost.flops_ratio > 1
