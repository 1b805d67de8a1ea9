"""What changes the fingerprints, and what does not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForImageTextToText, PreTrainedModel

from halfv_core.errors import ModelError
from halfv_core.models import load_model
from halfv_core.processors import PromptProcessor
from probe.calibration.identity import setup_fingerprint, weights_fingerprint
from tests.checkpoints import TORCHVISION, save_checkpoint
from tests.quantised import Packed
from tests.tiny import tiny_model


def test_one_trained_tensor_is_another_model() -> None:
    """Any tensor changes the fingerprint, and so does any small step."""
    model = tiny_model("qwen2_5_vl")
    before = weights_fingerprint(model)
    for name, parameter in model.named_parameters():
        kept = parameter.data
        parameter.data = kept + 1e-4
        assert weights_fingerprint(model) != before, name
        parameter.data = kept
    assert weights_fingerprint(model) == before


def test_every_part_of_a_tensor_is_looked_at() -> None:
    """Also if the length of the tensor is not a multiple of the number of hashed values."""
    model = tiny_model("llava")
    model.extra = torch.nn.Parameter(torch.zeros(511))
    before = weights_fingerprint(model)
    for start in range(0, 511, 73):
        model.extra.data = torch.zeros(511)
        model.extra.data[start : start + 73] = 1.0
        assert weights_fingerprint(model) != before


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.train(),
        lambda model: model.requires_grad_(False),
        lambda model: model.set_attn_implementation("eager"),
    ],
)
def test_what_is_no_weight_does_not_matter(change: Callable[[PreTrainedModel], object]) -> None:
    model = tiny_model("llava")
    before = weights_fingerprint(model)
    change(model)
    assert weights_fingerprint(model) == before


def test_quantised_weights_are_read_part_by_part() -> None:
    model = tiny_model("llava")
    layer = model.model.language_model.layers[0].mlp.up_proj
    values, scale = torch.randint(-9, 9, (48, 32), dtype=torch.int8), torch.rand(48, 1)
    layer.weight = torch.nn.Parameter(Packed(values, scale), requires_grad=False)
    found = {weights_fingerprint(model)}
    for part in (values, scale):
        part += 1
        found.add(weights_fingerprint(model))
    assert len(found) == 3


def test_weights_in_buffers_are_read() -> None:
    """GPTQ and AWQ keep them there, packed into integers of which a float32 would lose the lowest bits."""
    model = tiny_model("llava")
    layer = model.model.language_model.layers[0].mlp.up_proj
    layer.register_buffer("qweight", torch.full((4, 32), 2**30, dtype=torch.int32))
    before = weights_fingerprint(model)
    layer.qweight += 1
    assert weights_fingerprint(model) != before


def test_what_is_computed_from_the_config_is_no_weight() -> None:
    model = tiny_model("llava")
    before = weights_fingerprint(model)
    model.model.language_model.rotary_emb.inv_freq += 1
    assert weights_fingerprint(model) == before


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_offloaded_weights_are_those_of_the_whole_model(dtype: torch.dtype, tmp_path: Path) -> None:
    model = tiny_model("qwen2_5_vl").to(dtype)
    model.save_pretrained(tmp_path)
    places = {"model.visual": "cpu", "lm_head": "disk", "model.language_model": "disk"}
    offloaded = AutoModelForImageTextToText.from_pretrained(
        tmp_path, device_map=places, offload_folder=tmp_path / "off", dtype=dtype
    )
    assert any(parameter.is_meta for parameter in offloaded.parameters())
    assert weights_fingerprint(offloaded) == weights_fingerprint(model)


def test_one_offloaded_weight_is_another_model() -> None:
    model = tiny_model("llava")
    accelerate.cpu_offload(model)
    before = weights_fingerprint(model)
    hook: Any = model.model.language_model.layers[4].self_attn.q_proj._hf_hook
    hook.weights_map["weight"][0] += 1
    assert weights_fingerprint(model) != before


def test_weights_that_are_nowhere_are_refused() -> None:
    model = tiny_model("llava").to("meta")
    with pytest.raises(ModelError, match="cannot be read; got a meta tensor without accelerate's hook"):
        weights_fingerprint(model)


def test_sharded_weights_are_gathered(tmp_path: Path) -> None:
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    model = tiny_model("llava")
    whole = weights_fingerprint(model)
    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        layer = model.model.language_model.layers[0].mlp.up_proj
        layer.weight = torch.nn.Parameter(distribute_tensor(layer.weight.data, mesh, [Shard(0)]))
        assert weights_fingerprint(model) == whole
    finally:
        distributed.destroy_process_group()


@pytest.mark.gpu
def test_a_device_is_no_weight() -> None:
    model = tiny_model("llava")
    assert weights_fingerprint(model) == weights_fingerprint(tiny_model("llava").to("cuda"))


def test_another_seed_or_dtype_is_another_model() -> None:
    found = {weights_fingerprint(tiny_model("llava", seed=seed)) for seed in range(3)}
    assert len(found) == 3
    assert weights_fingerprint(tiny_model("llava").to(torch.bfloat16)) not in found


def test_the_same_checkpoint_loads_to_the_same_fingerprints(tmp_path: Path) -> None:
    save_checkpoint("qwen2_vl", tmp_path)
    one, two = (load_model(str(tmp_path), device="cpu") for _ in range(2))
    assert weights_fingerprint(one.model) == weights_fingerprint(two.model)
    assert setup_fingerprint(one.model, one.processor) == setup_fingerprint(two.model, two.processor)


def _smaller_images(model: PreTrainedModel, processor: PromptProcessor) -> None:
    processor.backend.image_processor.size = {"shortest_edge": 16}


def _another_template(model: PreTrainedModel, processor: PromptProcessor) -> None:
    processor.backend.chat_template += " w9"


def _another_end(model: PreTrainedModel, processor: PromptProcessor) -> None:
    model.generation_config.eos_token_id = 5


def _another_rotation(model: PreTrainedModel, processor: PromptProcessor) -> None:
    model.config.get_text_config().rope_parameters["rope_theta"] = 5e5


def _pillow_resizes(model: PreTrainedModel, processor: PromptProcessor) -> None:
    if not TORCHVISION:
        pytest.skip("without torchvision, Pillow resizes anyway; run make test-torchvision")
    processor.backend.image_processor = AutoImageProcessor.from_pretrained(model.config.name_or_path, backend="pil")


@pytest.mark.parametrize(
    "change", [_smaller_images, _another_template, _another_end, _another_rotation, _pillow_resizes]
)
def test_whatever_changes_inputs_or_answers_is_another_setup(
    change: Callable[[PreTrainedModel, PromptProcessor], None], tmp_path: Path
) -> None:
    loaded = load_model(str(save_checkpoint("llava", tmp_path)), device="cpu")
    before = setup_fingerprint(loaded.model, loaded.processor)
    change(loaded.model, loaded.processor)
    assert setup_fingerprint(loaded.model, loaded.processor) != before
