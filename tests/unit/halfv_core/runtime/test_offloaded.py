"""A model whose weights accelerate brings when they are needed answers as one whose weights are in memory."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.errors import UnsupportedError
from halfv_core.families import parts_of
from halfv_core.placement import device_of, offloaded_share
from tests.offloading import OFFLOADED, split
from tests.tiny import tiny_model, tiny_prompt

PLANS = (
    Plan((Keep(layer=3, keep_ratio=0.5, options={"anchor_share": 0.5}),)),
    Plan((Keep(layer=2, keep_ratio=0.5, selector="attention"), Freeze(layers=(3, 4)))),
)


def answered(model: PreTrainedModel, prompt: dict[str, Any], plan: Plan) -> tuple[torch.Tensor, list[list[int]]]:
    """Logits of four tokens, and the kept visual tokens."""
    generate: Any = model.generate
    with apply(model, plan) as run:
        out = generate(**prompt, max_new_tokens=4, output_logits=True, return_dict_in_generate=True, do_sample=False)
        kept = [rows[0].tolist() for rows in run.kept.values()]
    return torch.cat(out.logits).cpu(), kept


@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("how", OFFLOADED)
def test_an_offloaded_model_answers_bit_for_bit_as_one_in_memory(how: str, plan: Plan, tmp_path: Path) -> None:
    prompt = tiny_prompt("qwen2_5_vl")
    logits, kept = answered(tiny_model("qwen2_5_vl"), prompt, plan)
    model = OFFLOADED[how](tiny_model("qwen2_5_vl"), tmp_path)
    if how != "cpu_offload_with_hook":
        assert offloaded_share(model) > 0
    found, found_kept = answered(model, prompt, plan)
    assert torch.equal(found, logits) and found_kept == kept


@pytest.mark.parametrize("family", ["gemma3", "llava", "qwen3_vl"])
def test_offloaded_layers_of_other_families_answer_alike(family: str, tmp_path: Path) -> None:
    prompt = tiny_prompt(family)
    model = OFFLOADED["whole layers at a time"](tiny_model(family), tmp_path)
    for plan in PLANS:
        logits, kept = answered(tiny_model(family), prompt, plan)
        found, found_kept = answered(model, prompt, plan)
        assert torch.equal(found, logits) and found_kept == kept


@pytest.mark.parametrize("how", ["everything", "whole layers at a time"])
def test_offloaded_keys_keep_their_digits_in_half_precision(how: str, tmp_path: Path) -> None:
    """With large biases, keys that were made in bfloat16 would all be alike."""
    models = [tiny_model("qwen2_5_vl") for _ in range(2)]
    for model in models:
        for layer in parts_of(model).layers:
            layer.self_attn.k_proj.bias.data.mul_(500.0)
        model.to(torch.bfloat16)
    prompt = tiny_prompt("qwen2_5_vl")
    prompt["pixel_values"] = prompt["pixel_values"].bfloat16()
    plan = Plan((Keep(layer=3, keep_ratio=0.5, options={"anchor_share": 1.0}),))
    expected = answered(models[0], prompt, plan)[1]
    assert answered(OFFLOADED[how](models[1], tmp_path), prompt, plan)[1] == expected


def test_where_an_offloaded_module_computes(tmp_path: Path) -> None:
    model = OFFLOADED["everything"](tiny_model("llava"), tmp_path)
    assert model.device.type == "meta" and device_of(model).type == "cpu"
    assert device_of(parts_of(model).layers[4]).type == "cpu"


def test_weights_that_nothing_brings_are_named() -> None:
    with pytest.raises(UnsupportedError, match="no weights in memory"):
        device_of(tiny_model("llava").to("meta"))


@pytest.mark.gpu
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "qwen3_vl"])
@pytest.mark.parametrize("second", ["cpu", "cuda:1"])
@pytest.mark.parametrize("plan", PLANS, ids=str)
def test_layers_on_two_devices_answer_alike(family: str, second: str, plan: Plan) -> None:
    if second == "cuda:1" and torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    prompt = tiny_prompt(family)
    logits, kept = answered(tiny_model(family), prompt, plan)
    on_gpu = {name: value.to("cuda:0") for name, value in prompt.items()}
    found, found_kept = answered(split(tiny_model(family), "cuda:0", second), on_gpu, plan)
    assert found_kept == kept
    torch.testing.assert_close(found, logits, atol=1e-4, rtol=1e-4)
