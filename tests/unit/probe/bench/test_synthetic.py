"""Shapes without a hub: published parameter counts, slices, and clear errors."""

import json
from pathlib import Path

import pytest
import torch

from halfv_core.devices import memory_of
from halfv_core.errors import ModelError
from halfv_core.families import parts_of
from halfv_core.models import MODEL_NAMES
from probe.bench.synthetic import config_of, depths, random_model, shipped_shapes, sliced
from tests.tiny import tiny_model

PUBLISHED = {
    "llava-1.5-13b": 13.35e9,
    "llava-1.5-7b": 7.06e9,
    "llava-next-mistral-7b": 7.57e9,
    "qwen2.5-vl-3b": 3.755e9,
    "qwen2.5-vl-7b": 8.29e9,
}
"""Parameter counts from the checkpoints' pages on the hub."""


@pytest.mark.parametrize("name", shipped_shapes())
def test_a_shape_has_the_published_number_of_parameters_and_a_family(name: str) -> None:
    model = random_model(config_of(name), device="meta")
    assert model.num_parameters() == pytest.approx(PUBLISHED[name], rel=1e-3)
    assert len(parts_of(model).layers) == depths(model.config)[0]
    assert name in MODEL_NAMES


def test_a_slice_has_so_many_layers_and_the_whole_width() -> None:
    whole = config_of("qwen2.5-vl-7b")
    assert depths(whole) == (28, 32)
    model = random_model(sliced(config_of("qwen2.5-vl-7b"), 3, 8), device="meta")
    assert (depths(model.config), len(parts_of(model).layers), len(model.model.visual.blocks)) == ((3, 8), 3, 8)
    assert parts_of(model).layers[0].mlp.up_proj.weight.shape == (18944, 3584)
    assert model.config.vision_config.fullatt_block_indexes == [7]
    assert sliced(config_of("qwen2.5-vl-7b"), vision_layers=2).vision_config.fullatt_block_indexes == [1]


@pytest.mark.parametrize("layers, vision_layers", [(0, None), (29, None), (None, 0), (None, 33)])
def test_a_slice_is_no_thicker_than_the_model(layers: int | None, vision_layers: int | None) -> None:
    with pytest.raises(ModelError, match=r"cannot be cut to so many layers; got (0|29|33); expected 1\.\.(28|32)"):
        sliced(config_of("qwen2.5-vl-7b"), layers, vision_layers)


def test_any_config_in_a_folder_will_do(tmp_path: Path) -> None:
    tiny = tiny_model("llava")
    tiny.config.save_pretrained(tmp_path)
    model = random_model(sliced(config_of(str(tmp_path)), layers=2), dtype=torch.float32)
    assert depths(model.config) == (2, 2) and model.dtype == torch.float32
    weights = [layer.self_attn.q_proj.weight for layer in parts_of(model).layers]
    assert not torch.equal(*weights) and all(weight.std() > 0 for weight in weights)


def test_an_unknown_name_lists_the_shapes() -> None:
    with pytest.raises(ModelError, match="no model 'qwen9'"):
        config_of("qwen9")
    with pytest.raises(ModelError, match="a shipped shape: llava-1.5-13b, .*qwen2.5-vl-7b"):
        config_of("nobody/nothing")


def test_a_model_that_is_larger_than_the_memory_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probe.bench.synthetic.memory_of", lambda device: 2**30)
    config = config_of("qwen2.5-vl-7b")
    said = r"do not fit into the memory of cpu; got 15\.4 GiB; expected at most 1\.0 GiB; cut the model with --layers"
    with pytest.raises(ModelError, match=said):
        random_model(config)


def test_the_memory_of_this_machine_is_known() -> None:
    assert (memory_of(torch.device("cpu")) or 0) > 2**28
    assert memory_of(torch.device("meta")) is None


def test_a_config_with_countless_layers_is_refused_before_it_is_read(tmp_path: Path) -> None:
    config = {"model_type": "llava", "text_config": {"model_type": "llama", "num_hidden_layers": 10**9}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="got text_config.num_hidden_layers 1000000000; expected at most 1,000"):
        config_of(str(tmp_path))
