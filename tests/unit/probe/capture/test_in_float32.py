"""A model of 16 bits whose decoder runs in float32, against a float32 copy of the whole decoder."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from halfv_core import Keep, Plan, apply
from halfv_core.families import parts_of
from probe.capture.in_float32 import decoder_in_float32
from tests.tiny import TINY, tiny_model, tiny_prompt


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", sorted(TINY))
@torch.no_grad()
def test_equals_a_float32_decoder_on_the_same_embeddings(family: str, dtype: torch.dtype) -> None:
    low = tiny_model(family).to(dtype)
    inputs = {name: v.to(dtype) if v.is_floating_point() else v for name, v in tiny_prompt(family).items()}
    weights = {name: (weight, weight.data_ptr(), weight.clone()) for name, weight in low.named_parameters()}
    embeddings: list[torch.Tensor] = []
    states: list[torch.Tensor] = []

    def note(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        embeddings.append(kwargs["inputs_embeds"])

    with parts_of(low).decoder.register_forward_pre_hook(note, with_kwargs=True):
        plain = low(**inputs).logits
    with (
        parts_of(low).layers[-1].register_forward_hook(lambda *call: states.append(call[-1])),
        decoder_in_float32(low),
    ):
        logits = low(**inputs).logits
    assert logits.dtype == plain.dtype == dtype

    high = copy.deepcopy(low)
    decoder = parts_of(high).decoder
    for module in (*parts_of(high).layers, decoder.norm):
        module.float()

    def replace(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        features = kwargs.get("deepstack_visual_embeds")
        wide = {} if features is None else {"deepstack_visual_embeds": [one.float() for one in features]}
        masks = kwargs["attention_mask"]
        if isinstance(masks, dict):
            kwargs["attention_mask"] = {
                name: None if m is None else m.float() if m.is_floating_point() else m for name, m in masks.items()
            }
        return args, kwargs | wide | {"inputs_embeds": embeddings[0].float()}

    def narrow(module: nn.Module, args: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state.to(dtype)
        return output

    parts_of(high).layers[-1].register_forward_hook(lambda *call: states.append(call[-1]))
    decoder.register_forward_pre_hook(replace, with_kwargs=True)
    decoder.register_forward_hook(narrow)
    high(**inputs)
    assert states[0].dtype == torch.float32
    torch.testing.assert_close(states[0], states[1], rtol=0, atol=0)

    for name, weight in low.named_parameters():
        before, address, values = weights[name]
        assert weight is before and weight.data_ptr() == address and torch.equal(weight, values)
    torch.testing.assert_close(low(**inputs).logits, plain, rtol=0, atol=0)


@torch.no_grad()
def test_weights_are_put_back_after_an_exception() -> None:
    model = tiny_model("llava").bfloat16()
    with (
        pytest.raises(ZeroDivisionError),
        decoder_in_float32(model),
        apply(model, Plan((Keep(layer=1, keep_ratio=0.5),))),
    ):
        parts_of(model).layers[2].register_forward_hook(lambda *_: 1 // 0)
        inputs = tiny_prompt("llava")
        model(**inputs | {"pixel_values": inputs["pixel_values"].bfloat16()})
    assert {weight.dtype for weight in model.parameters()} == {torch.bfloat16}
