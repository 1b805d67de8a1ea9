"""apply() leaves the model as it was, whatever happens inside the block."""

from typing import Any

import pytest
import torch
from transformers import DynamicCache, PreTrainedModel

from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.errors import UnsupportedError
from tests.tiny import tiny_model, tiny_prompt

PLAN = Plan((Keep(layer=2, keep_ratio=0.5), Freeze(layers=[4])))


def traces(model: PreTrainedModel) -> list[tuple[str, list[str], int, int]]:
    """Everything that apply() could leave behind in a module."""
    return [
        (name, sorted(module.__dict__), len(module._forward_hooks), len(module._forward_pre_hooks))
        for name, module in model.named_modules()
    ]


def test_exit_restores_the_model() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    logits = model(**inputs).logits  # transformers hooks its vision tower at the first call
    before = traces(model)
    with apply(model, PLAN):
        assert traces(model) != before
        model.generate(**inputs, max_new_tokens=2)
    assert traces(model) == before
    assert torch.equal(model(**inputs).logits, logits)


def test_exit_restores_the_model_after_an_exception_inside() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    model(**inputs)
    before = traces(model)
    with pytest.raises(RuntimeError, match="boom"), apply(model, PLAN):
        model(**inputs)
        raise RuntimeError("boom")
    assert traces(model) == before


def test_exit_restores_the_model_after_an_exception_in_the_middle_of_a_forward() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    logits = model(**inputs).logits  # transformers hooks its vision tower at the first call
    before = traces(model)
    with pytest.raises(UnsupportedError), apply(model, PLAN):
        model(**inputs, past_key_values=type("OwnCache", (DynamicCache,), {})())
    assert traces(model) == before
    with apply(model, PLAN):
        pass
    assert torch.equal(model(**inputs).logits, logits)


def test_a_forward_that_was_set_on_the_instance_stays() -> None:
    model = tiny_model("llava")
    layer = model.model.language_model.layers[2]
    calls: list[int] = []
    own = layer.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return own(*args, **kwargs)

    layer.forward = counted
    with apply(model, PLAN):
        model(**tiny_prompt("llava"))
    assert layer.__dict__["forward"] is counted
    assert calls == [1]
