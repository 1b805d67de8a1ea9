"""What a model may be wrapped in: right, or refused in one line."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from nnsight import NNsight
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import PreTrainedModel

from halfv_core import Freeze, HalfVError, Keep, Plan, apply
from halfv_core.families import parts_of
from tests.tiny import tiny_model, tiny_prompt

PLAN = Plan((Keep(layer=2, keep_ratio=0.5, options={"anchor_share": 0.5}), Freeze(layers=(3, 4))))


@pytest.fixture(autouse=True)
def compiler() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.compile's own
        torch._dynamo.reset()
        yield
        torch._dynamo.reset()


def compiled(what: Any) -> Any:
    return torch.compile(what, backend="eager")


@torch.no_grad()
def logits(model: Any, call: Callable[..., Any] | None = None) -> torch.Tensor:
    with apply(model, PLAN):
        found: torch.Tensor = (call or model)(**tiny_prompt("qwen2_5_vl")).logits[0, -1]
    return found


def forward_of_a_layer(model: PreTrainedModel) -> None:
    layer = parts_of(model).layers[3]
    layer.forward = compiled(layer.forward)


def layer_in_place_of_itself(model: PreTrainedModel) -> None:
    layers = parts_of(model).decoder.layers
    layers[3] = compiled(layers[3])


def merger_of_the_vision_tower(model: Any) -> None:
    model.model.visual.merger = compiled(model.model.visual.merger)


def parts_of_a_layer(model: PreTrainedModel) -> None:
    layer = parts_of(model).layers[1]  # whose attention is scored
    layer.self_attn = compiled(layer.self_attn)
    layer.mlp.compile(backend="eager")


@pytest.mark.parametrize(
    "change",
    [forward_of_a_layer, layer_in_place_of_itself, merger_of_the_vision_tower, parts_of_a_layer],
    ids=lambda f: f.__name__,
)
def test_compiled_parts_give_the_same(change: Callable[[PreTrainedModel], None]) -> None:
    expected, model = logits(tiny_model("qwen2_5_vl")), tiny_model("qwen2_5_vl")
    change(model)
    torch.testing.assert_close(logits(model), expected, atol=1e-5, rtol=1e-5)


def test_a_compiled_function_around_the_model_gives_the_same() -> None:
    model = tiny_model("qwen2_5_vl")
    expected = logits(model)
    assert torch.equal(logits(model, compiled(lambda **prompt: model(**prompt))), expected)


def layer_compile(model: PreTrainedModel) -> None:
    parts_of(model).layers[0].compile(backend="eager")


def last_layer_compile(model: PreTrainedModel) -> None:
    parts_of(model).layers[-1].compile(backend="eager")


def decoder(model: Any) -> None:
    model.model.language_model = compiled(model.model.language_model)


def decoder_compile(model: Any) -> None:
    model.model.language_model.compile(backend="eager")


def core_forward(model: Any) -> None:
    model.model.forward = compiled(model.model.forward)


def model_forward(model: Any) -> None:
    model.forward = compiled(model.forward)


REFUSED = [layer_compile, last_layer_compile, decoder, decoder_compile, core_forward, model_forward]


@pytest.mark.parametrize("change", REFUSED, ids=lambda f: f.__name__)
def test_what_is_compiled_around_the_layers_is_refused(change: Callable[[PreTrainedModel], None]) -> None:
    model = tiny_model("qwen2_5_vl")
    change(model)
    with pytest.raises(HalfVError, match=r"^a compiled model cannot .*; got a compiled \w+; use .* layer.forward ="):
        logits(model)


def data_parallel(model: PreTrainedModel) -> Any:
    return nn.DataParallel(model)


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (data_parallel, "DataParallel copies a model for each call.*; use one process for each GPU"),
        (NNsight, "this is not a transformers model; got NNsight; expected PreTrainedModel"),
        (compiled, "a compiled model cannot run under a plan; got a compiled Qwen"),
    ],
)
def test_a_wrapper_that_hides_the_model_is_refused(wrap: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(HalfVError, match=f"^{said}"):
        logits(wrap(tiny_model("qwen2_5_vl")))


@pytest.fixture
def processes() -> Iterator[None]:
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_one_of_several_processes_runs_as_one_alone(processes: None) -> None:
    expected = logits(tiny_model("qwen2_5_vl"))
    assert torch.equal(logits(nn.parallel.DistributedDataParallel(tiny_model("qwen2_5_vl"))), expected)


def test_a_sharded_model_is_refused(processes: None) -> None:
    model = tiny_model("qwen2_5_vl")
    fully_shard(parts_of(model).layers[1], mesh=init_device_mesh("cpu", (1,)))
    with pytest.raises(HalfVError, match="sharded by FSDP has its weights only inside its own calls; use it before it"):
        logits(model)


def test_hooks_on_layers_see_what_goes_through_them() -> None:
    """At the layer of a Keep the hook before it comes first: it sees the tokens that the Keep is about to drop."""
    model, seen = tiny_model("qwen2_5_vl"), []
    for index in (2, 3):
        layer = parts_of(model).layers[index]
        layer.register_forward_pre_hook(lambda _, args, index=index: seen.append((index, args[0].shape[1])))
        layer.register_forward_hook(lambda _, args, output, index=index: seen.append((index, output.shape[1])))
    logits(model)
    assert seen == [(2, 28), (2, 20), (3, 20), (3, 20)]


def test_a_model_that_is_converted_inside_the_block_runs_in_its_new_dtype() -> None:
    model, prompt = tiny_model("qwen2_5_vl"), tiny_prompt("qwen2_5_vl")
    with torch.no_grad(), apply(model, PLAN):
        expected = model(**prompt).logits[0, -1]
        model.double()
        prompt["pixel_values"] = prompt["pixel_values"].double()
        found = model(**prompt).logits[0, -1]
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), expected, atol=1e-4, rtol=1e-4)


def test_two_models_run_under_plans_of_their_own_at_once() -> None:
    one, other = tiny_model("qwen2_5_vl"), tiny_model("qwen2_5_vl", seed=3)
    expected = logits(other)
    with apply(one, Plan((Keep(layer=1, keep_ratio=0.0),))):
        assert torch.equal(logits(other), expected)
