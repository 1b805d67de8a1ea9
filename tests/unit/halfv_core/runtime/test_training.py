"""Training steps under a plan: loss and gradients are those of the masked reference, with and without checkpointing."""

from typing import Any

import pytest
import torch
from transformers import DynamicCache, PreTrainedModel

from halfv_core import Plan, apply
from tests.contract.test_families import PLANS
from tests.flash import flash_model
from tests.masked_reference import masked_logits
from tests.tiny import tiny_batch, tiny_model, tiny_prompt

FAMILY = pytest.mark.parametrize("family", ["gemma3", "llava", "qwen2_5_vl"])
PLAN = pytest.mark.parametrize("name", ["keep_twice", "freeze", "keep_then_freeze", "keep_inside_freeze"])
ANSWER = 4
CASES: dict[str, tuple[str, dict[str, bool] | None]] = {
    "eager": ("eager", None),
    "checkpointing": ("sdpa", {"use_reentrant": False}),
    "reentrant_checkpointing": ("sdpa", {"use_reentrant": True}),
}


def gradients(model: PreTrainedModel, loss: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of every parameter that the loss depends on, and the loss itself."""
    model.zero_grad()
    loss.backward()
    found = {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}
    return found | {"loss": loss.detach()}


def trained(model: PreTrainedModel, plan: Plan, inputs: dict[str, Any], **options: Any) -> Any:
    """The gradients of a training step on the last words of each row, and what the plan kept."""
    labels = inputs["input_ids"].clone()
    labels[:, :-ANSWER] = -100
    with apply(model, plan) as run:
        loss = model(**inputs, labels=labels, **options).loss
        kept = {layer: rows[0] for layer, rows in run.kept.items()}
    return gradients(model, loss), kept


def prepared(model: PreTrainedModel, checkpointing: dict[str, bool] | None) -> PreTrainedModel:
    model.train()
    if checkpointing is not None:
        model.activation_checkpointing_enable(checkpointing)
        model.enable_input_require_grads()
    return model


def check(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-4, msg=lambda text, n=name: n + text)


@FAMILY
@PLAN
@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_gradients_equal_those_of_the_masked_reference(
    family: str, name: str, case: tuple[str, dict[str, bool] | None]
) -> None:
    """Those of the vision tower, the embeddings, every layer and the head."""
    kernel, checkpointing = case
    plan, inputs = PLANS[name], tiny_prompt(family)
    model = prepared(tiny_model(family, kernel=kernel), checkpointing)
    found, kept = trained(model, plan, inputs, use_cache=False)
    reference = tiny_model(family, kernel=kernel).train()
    rows = masked_logits(reference, inputs, plan, kept)[-ANSWER - 1 : -1].log_softmax(-1)
    loss = -rows.gather(1, inputs["input_ids"][0, -ANSWER:, None]).mean()
    check(found, gradients(reference, loss))


@FAMILY
@PLAN
def test_checkpointing_changes_nothing_in_a_batch_with_a_cache(family: str, name: str) -> None:
    """Rows of different image counts, padding, and a cache, which transformers leaves empty while it checkpoints."""
    inputs = tiny_batch(family, [{"images": 2}, {}])
    steps = []
    for checkpointing in (None, {"use_reentrant": False}):
        cache = DynamicCache()
        model = prepared(tiny_model(family), checkpointing)
        steps.append(trained(model, PLANS[name], inputs, past_key_values=cache, use_cache=True)[0])
        assert (cache.get_seq_length() == 0) == (checkpointing is not None)
        assert all(layer.gradient_checkpointing == (checkpointing is not None) for layer in layers(model))
    check(steps[1], steps[0])


def test_checkpointing_changes_nothing_under_flash_attention(flash: None) -> None:
    steps = []
    for checkpointing in (None, {"use_reentrant": False}):
        model = prepared(flash_model("llava"), checkpointing)
        steps.append(trained(model, PLANS["keep_then_freeze"], tiny_prompt("llava"), use_cache=False)[0])
        assert model.config.get_text_config()._attn_implementation == "flash_attention_2"
    check(steps[1], steps[0])


def layers(model: PreTrainedModel) -> Any:
    return model.model.language_model.layers
