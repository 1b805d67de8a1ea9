"""However a model is loaded, it is the plain model: in capture, under a plan, in its answers.

Over several processes, see test_tensor_parallel.py; with packed weights, tests/unit/probe/test_quantised.py.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from cli.model_options import LoadingOptions
from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.models import bundled_models, load_model
from halfv_core.placement import offloaded_share
from probe.capture.hidden_states import capture
from probe.trials.proofs import prove
from tests.checkpoints import save_checkpoint
from tests.tiny import tiny_prompt

FAMILIES = ("llava_next", "qwen2_5_vl")
DECODER = "model.language_model"
PLAN = Plan((Keep(layer=2, keep_ratio=0.5), Freeze(layers=(3,)), Keep(layer=4, keep_ratio=0.25)))
MAPS: dict[str, dict[str, str]] = {
    "all in memory": {"": "cpu"},
    "all on disk": {"": "disk"},
    "some layers on disk": {"": "cpu", f"{DECODER}.layers.1": "disk", f"{DECODER}.layers.4": "disk", "lm_head": "disk"},
    "parts of a layer on disk": {"": "cpu", f"{DECODER}.layers.2.mlp": "disk", f"{DECODER}.layers.2.self_attn": "disk"},
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("checkpoints")
    return {family: save_checkpoint(family, root / family) for family in FAMILIES}


@torch.no_grad()
def measured(model: PreTrainedModel, family: str) -> dict[str, Any]:
    prompt = tiny_prompt(family)
    found = {"hidden": capture(model, prompt).hidden.tolist()}
    with apply(model, PLAN) as run:
        found["answer"] = model.generate(**prompt, max_new_tokens=3, do_sample=False).tolist()
        found["kept"] = [rows[0].tolist() for rows in run.kept.values()]
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_a_device_map_of_ones_own_changes_no_bit(family: str, checkpoints: dict[str, Path], tmp_path: Path) -> None:
    place, file = str(checkpoints[family]), tmp_path / "map.json"
    expected = measured(load_model(place).model, family)
    beside = {"model.image_newline": "cpu"} if family == "llava_next" else {}  # nothing would bring it
    for name, places in MAPS.items():
        file.write_text(json.dumps(places | beside))
        model = load_model(place, device_map=file).model
        assert (offloaded_share(model) > 0) is ("disk" in places.values())
        assert measured(model, family) == expected, name


@pytest.mark.parametrize("device_map", ["auto", "balanced", "balanced_low_0", "sequential"])
def test_what_does_not_fit_is_on_disk_and_changes_no_bit(device_map: str, checkpoints: dict[str, Path]) -> None:
    place = checkpoints["qwen2_5_vl"]
    room = f"{(place / 'model.safetensors').stat().st_size * 3 // 4}B"
    expected = measured(load_model(str(place)).model, "qwen2_5_vl")
    model = LoadingOptions(device_map=device_map, max_memory=[f"cpu={room}"]).load(str(place)).model
    assert 0 < offloaded_share(model) < 1
    assert measured(model, "qwen2_5_vl") == expected


def test_a_bundled_model_is_proved_with_layers_on_disk(tmp_path: Path) -> None:
    name, file = next(iter(bundled_models())), tmp_path / "map.json"
    file.write_text(json.dumps({"": "cpu"} | {f"{DECODER}.layers.{index}": "disk" for index in (1, 10, 11)}))
    model, processor, _ = LoadingOptions(device_map=str(file)).load(name)
    on_disk = {name.split(".")[3] for name, weight in model.named_parameters() if weight.is_meta}
    assert on_disk == {"1", "10", "11"}
    assert all(check.passed for check in prove(model, processor))


@pytest.mark.gpu
def test_a_replica_takes_its_gpus_and_computes_alike(checkpoints: dict[str, Path]) -> None:
    """On the last half of the GPUs, or the only one."""
    count = torch.cuda.device_count()
    gpus = tuple(range(count // 2, count))
    model = load_model(str(checkpoints["qwen2_5_vl"]), gpus=gpus, device_map="balanced").model
    assert {weight.device.index for weight in model.parameters()} <= set(gpus)
    prompt = {name: value.to(f"cuda:{gpus[0]}") for name, value in tiny_prompt("qwen2_5_vl").items()}
    plain = load_model(str(checkpoints["qwen2_5_vl"]), device="cpu").model
    expected = capture(plain, tiny_prompt("qwen2_5_vl")).hidden
    torch.testing.assert_close(capture(model, prompt).hidden.cpu(), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.gpu
def test_layers_that_wait_in_memory_or_on_disk_compute_alike_on_a_gpu(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    file = tmp_path / "map.json"
    file.write_text(json.dumps({"": 0, f"{DECODER}.layers.1": "cpu", f"{DECODER}.layers.3": "disk"}))
    model = load_model(str(checkpoints["qwen2_5_vl"]), device_map=file).model
    prompt = {name: value.to("cuda:0") for name, value in tiny_prompt("qwen2_5_vl").items()}
    plain = load_model(str(checkpoints["qwen2_5_vl"]), device="cpu").model
    expected = capture(plain, tiny_prompt("qwen2_5_vl")).hidden
    torch.testing.assert_close(capture(model, prompt).hidden.cpu(), expected, atol=1e-4, rtol=1e-4)
