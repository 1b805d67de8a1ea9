"""The cost formulas against figures that were published or worked out by hand."""

from typing import Any

import pytest
import torch
from transformers import PreTrainedConfig

from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.cost import DecoderShape, LayerTokens, cost_of, tokens_by_layer
from halfv_core.families import FAMILIES
from tests.tiny import LAYERS, tiny_model, tiny_prompt

LLAVA_7B = DecoderShape(layers=32, hidden=4096, query_width=4096, kv_width=4096, mlp=11008, value_bytes=2)
QWEN_7B = DecoderShape(layers=28, hidden=3584, query_width=3584, kv_width=512, mlp=18944, value_bytes=2)


def test_llava_7b_dense_is_the_published_8_5_tera() -> None:
    """ShortV table 1: 8.5 T with 576 visual and 64 text tokens."""
    cost = cost_of(LLAVA_7B, tokens_by_layer(Plan(()), 32, 576, 64))
    assert cost.prefill_flops == pytest.approx(8.50e12, rel=2e-3)
    assert cost.flops_ratio == cost.kv_ratio == 1.0


def test_shortv_on_llava_7b_is_the_published_55_per_cent() -> None:
    plan = Plan((Freeze(layers=range(13, 32)),))
    assert 1 / cost_of(LLAVA_7B, tokens_by_layer(plan, 32, 576, 64)).flops_ratio == pytest.approx(0.55, abs=0.01)


@pytest.mark.parametrize(
    ("visual", "text", "ratio"), [(400, 30, 3.30), (1200, 30, 3.76), (2500, 30, 3.97), (2500, 0, 4.10)]
)
def test_halfv_settings_on_qwen_7b(visual: int, text: int, ratio: float) -> None:
    plan = Plan((Keep(layer=2, keep_ratio=0.25), Keep(layer=21, keep_ratio=0.05, selector="attention")))
    assert cost_of(QWEN_7B, tokens_by_layer(plan, 28, visual, text)).flops_ratio == pytest.approx(ratio, abs=0.02)


def test_visual_tokens_alone_are_a_prompt_without_text() -> None:
    plan = Plan((Keep(layer=2, keep_ratio=0.25), Keep(layer=21, keep_ratio=0.05, selector="attention")))
    costs = [cost_of(QWEN_7B, tokens_by_layer(plan, 28, 2500, text)) for text in (30, 0)]
    assert costs[0].visual_flops_ratio == costs[1].visual_flops_ratio == costs[1].flops_ratio > costs[0].flops_ratio
    assert cost_of(QWEN_7B, tokens_by_layer(plan, 28, 0, 30)).visual_flops_ratio == 1.0


def test_formulas_by_hand() -> None:
    shape = DecoderShape(layers=1, hidden=2, query_width=2, kv_width=1, mlp=3, value_bytes=4)
    assert shape.prefill_flops(LayerTokens(3, 1)) == 2 * 4 * (2 * 4 + 2 * 2 + 3 * 6) + 4 * 16 * 2
    assert shape.prefill_flops(LayerTokens(3, 1, frozen=3)) == 2 * 1 * (2 * 4 + 3 * 6) + 4 * 4 * 2 + 4 * 1 * 4 * 2
    assert shape.decode_flops(5) == 2 * (2 * 4 + 2 * 2 + 3 * 6) + 4 * 5 * 2
    assert shape.kv_bytes(5) == 2 * 5 * 1 * 4


def test_decoding_counts_every_new_token_and_its_growing_cache() -> None:
    shape = DecoderShape(layers=2, hidden=2, query_width=2, kv_width=1, mlp=3, value_bytes=4)
    cost = cost_of(shape, tokens_by_layer(Plan((Keep(layer=1, keep_ratio=0.5),)), 2, 4, 1), new_tokens=2)
    assert cost.decode_flops == sum(map(shape.decode_flops, (6, 7, 4, 5)))
    assert cost.decode_flops_full == 2 * sum(map(shape.decode_flops, (6, 7)))
    assert cost.kv_bytes == shape.kv_bytes(7) + shape.kv_bytes(5)


@pytest.mark.parametrize("family", sorted(FAMILIES))
@torch.no_grad()
def test_what_ran_costs_what_the_plan_says(family: str) -> None:
    model, inputs = tiny_model(family), tiny_prompt(family)
    plan = Plan((Keep(layer=1, keep_ratio=0.6), Freeze(layers=[2, 4]), Keep(layer=3, keep_ratio=0.2)))
    with apply(model, plan) as run:
        model.generate(**inputs, do_sample=False, max_new_tokens=5)
    shape = DecoderShape.of(model.config.get_text_config(), value_bytes=4)
    rows = tokens_by_layer(plan, LAYERS, 16, inputs["input_ids"].shape[1] - 16)
    assert run.cost == cost_of(shape, rows, new_tokens=4)


@pytest.mark.parametrize(
    ("fields", "width"),
    [
        ({}, 48),
        ({"num_experts_per_tok": 2}, 48),  # without experts to choose from
        ({"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}, 48),
        ({"num_experts": 4, "num_experts_per_tok": 3, "moe_intermediate_size": 24, "mlp_only_layers": [0]}, 66),
        ({"num_experts": 4, "num_experts_per_tok": 1, "moe_intermediate_size": 24, "decoder_sparse_step": 2}, 36),
        ({"n_routed_experts": 8, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 10}, 30),
        ({"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 10, "first_k_dense_replace": 1}, 27),
        ({"moe_num_experts": 8, "moe_k": 2, "moe_intermediate_size": [12, 8], "moe_num_shared_experts": 2}, 40),
        ({"num_experts": 4, "num_experts_per_tok": 1, "mlp_layer_types": ["dense", "sparse"] * 2}, 48),
        ({"num_experts": 4, "num_experts_per_tok": 1, "shared_expert_intermediate_size": 5}, 53),
    ],
)  # fmt: skip
def test_of_a_mixture_of_experts_the_active_ones_count(fields: dict[str, Any], width: int) -> None:
    config = PreTrainedConfig(
        num_hidden_layers=4, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48
    )
    for name, value in fields.items():
        setattr(config, name, value)
    assert DecoderShape.of(config, 2).mlp == width
