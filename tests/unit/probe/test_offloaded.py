"""What is measured on a model whose weights are offloaded is what is measured on one in memory."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from halfv_core import Freeze, Keep, Plan
from halfv_core.models import load_model
from probe import calibrate, load_samples
from probe.analyzers.layer_redundancy import layer_redundancy
from probe.analyzers.withdrawal import withdrawal
from probe.bench import bench, synthetic_inputs
from probe.calibration.identity import weights_fingerprint
from probe.calibration.settings import Settings
from probe.capture.attention import attention_of_last
from probe.capture.hidden_states import capture
from probe.evaluation.evaluate import evaluate
from probe.trials.masked_run import masked_logits
from probe.trials.proofs import prove
from tests.checkpoints import save_checkpoint
from tests.offloading import OFFLOADED, split
from tests.pictures import noise
from tests.tiny import tiny_model, tiny_prompt

PLAN = Plan((Keep(layer=2, keep_ratio=0.5), Freeze(layers=(3, 4))))


def measured(model: PreTrainedModel, prompt: dict[str, Any]) -> dict[str, torch.Tensor]:
    frozen = Plan((Freeze(layers=(3, 4)),))
    return {
        "states": capture(model, prompt).hidden,
        "attention": torch.stack(list(attention_of_last(model, prompt, (0, 2, 4)).values())),
        "redundancy": layer_redundancy(model, prompt),
        "withdrawal": withdrawal(model, prompt),
        "reference": masked_logits(model, prompt, frozen, {}),
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("how", sorted(OFFLOADED))
def test_measurements_are_the_same_bit_for_bit(how: str, dtype: torch.dtype, tmp_path: Path) -> None:
    prompt = tiny_prompt("qwen2_5_vl")
    prompt["pixel_values"] = prompt["pixel_values"].to(dtype)
    expected = measured(tiny_model("qwen2_5_vl").to(dtype), prompt)
    found = measured(OFFLOADED[how](tiny_model("qwen2_5_vl").to(dtype), tmp_path), prompt)
    assert {name: torch.equal(value, found[name]) for name, value in expected.items()} == dict.fromkeys(expected, True)


@pytest.mark.parametrize("how", sorted(OFFLOADED))
def test_the_fingerprint_is_that_of_the_weights(how: str, tmp_path: Path) -> None:
    model = tiny_model("llava")
    fingerprint = weights_fingerprint(model)
    assert weights_fingerprint(OFFLOADED[how](model, tmp_path)) == fingerprint


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint, and data beside it."""
    rows = []
    for index in range(4):
        noise(64, 64, 10 + 20 * index, index).save(tmp_path / f"{index}.png")
        rows.append({"image": f"{index}.png", "question": f"w{20 + index} w9", "answer": "w3"})
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return save_checkpoint("qwen2_5_vl", tmp_path / "checkpoint")


def test_a_checkpoint_that_does_not_fit_into_memory_is_proved_and_used_alike(folder: Path) -> None:
    """The last layers and the head stay on disk."""
    samples = load_samples(folder.parent / "data.jsonl")[:1]
    room = {"cpu": (folder / "model.safetensors").stat().st_size * 3 // 4}
    found: list[Any] = []
    for limits in (None, room):
        model, processor, _ = load_model(str(folder), max_memory=limits)
        assert any(weight.is_meta for weight in model.parameters()) is (limits is not None)
        answers = evaluate(model, processor, samples, PLAN, max_new_tokens=3).answers
        proofs = list(prove(model, processor))
        assert all(check.passed for check in proofs)
        found.append((answers, proofs))
    assert found[0] == found[1]


def test_a_calibration_of_an_offloaded_model_gives_the_same_profile(folder: Path) -> None:
    samples = load_samples(folder.parent / "data.jsonl")
    settings = Settings(samples=4, held_out=0.25, max_new_tokens=2, entropy_k=5)
    model, processor, _ = load_model(str(folder))
    expected = calibrate(model, processor, samples, settings)
    offloaded = OFFLOADED["cpu_offload"](model, folder)
    found = calibrate(offloaded, processor, samples, settings)
    for name in ("curves", "stages", "plan", "pruning_tests", "expected", "checks"):
        assert getattr(found, name) == getattr(expected, name), name


def test_an_offloaded_model_is_benchmarked(tmp_path: Path) -> None:
    model = OFFLOADED["cpu_offload"](tiny_model("qwen2_5_vl"), tmp_path)
    benchmark = bench(model, PLAN, synthetic_inputs(model, visual_tokens=16, text_tokens=8), rounds=1, new_tokens=1)
    assert benchmark.analytic.decoder_flops_ratio > 1


@pytest.mark.gpu
@pytest.mark.parametrize("second", ["cpu", "cuda:1"])
def test_measurements_over_two_devices_are_alike(second: str) -> None:
    if second == "cuda:1" and torch.cuda.device_count() < 2:
        pytest.skip("needs two GPUs")
    prompt = tiny_prompt("qwen2_5_vl")
    expected = measured(tiny_model("qwen2_5_vl"), prompt)
    on_gpu = {name: value.to("cuda:0") for name, value in prompt.items()}
    found = measured(split(tiny_model("qwen2_5_vl"), "cuda:0", second), on_gpu)
    for name, value in expected.items():
        torch.testing.assert_close(found[name].cpu(), value, atol=1e-3, rtol=1e-3)
