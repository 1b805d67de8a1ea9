"""Plans under FlashAttention: the same as the masked reference and as rows alone."""

from typing import Any

import pytest
import torch

from halfv_core import Keep, Plan, apply
from halfv_core.families import FAMILIES
from tests.contract.test_batches import BATCHES
from tests.contract.test_families import GREEDY, PLAN, PLANS, PROMPTS
from tests.flash import flash_model
from tests.masked_reference import generate_by_recomputation, masked_logits
from tests.tiny import IMAGE, tiny_batch, tiny_model, tiny_prompt
from tests.unit.halfv_core.runtime.test_turns import TEXT, in_cache

BATCH = pytest.mark.parametrize("prompts", BATCHES.values(), ids=BATCHES.keys())

# Gemma 3 lets the tokens of an image see each other, which FlashAttention cannot, so its models differ by kernel.
CAUSAL = sorted(set(FAMILIES) - {"gemma3"})
FAMILY = pytest.mark.parametrize("family", CAUSAL)
# One with plain positions, one whose positions have three axes, one with features added between layers.
KIND = pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "qwen3_vl"])
pytestmark = pytest.mark.usefixtures("flash")


@FAMILY
@torch.no_grad()
def test_the_kernel_is_what_it_stands_for(family: str) -> None:
    inputs = tiny_batch(family, [{}, {"images": 2}])
    real = inputs["attention_mask"].bool()
    torch.testing.assert_close(
        flash_model(family)(**inputs).logits[real], tiny_model(family)(**inputs).logits[real], atol=1e-5, rtol=1e-5
    )


@KIND
@pytest.mark.parametrize("prompt", [PROMPTS["one_image"], PROMPTS["text_between"]])
@PLAN
@torch.no_grad()
def test_plan_equals_masked_reference(family: str, prompt: dict[str, Any], plan: Plan) -> None:
    model, inputs = flash_model(family), tiny_prompt(family, **prompt)
    with apply(model, plan) as run:
        logits = model(**inputs).logits[0]
        kept = {layer: rows[0] for layer, rows in run.kept.items()}
        generated = model.generate(**inputs, **GREEDY)[0, inputs["input_ids"].shape[1] :].tolist()
    text = inputs["input_ids"][0] != IMAGE
    expected = masked_logits(tiny_model(family), inputs, plan, kept)
    torch.testing.assert_close(logits[text], expected[text], atol=1e-5, rtol=1e-5)
    assert generated == generate_by_recomputation(tiny_model(family), inputs, plan, kept, GREEDY["max_new_tokens"])
    assert model.config.get_text_config()._attn_implementation == "flash_attention_2"


@KIND
@pytest.mark.parametrize(
    ("prompts", "side"), [(BATCHES["different_texts"], "right"), (BATCHES["one_two_and_no_image"], "left")]
)
@PLAN
@torch.no_grad()
def test_batch_equals_that_of_another_kernel(family: str, prompts: list[dict[str, Any]], plan: Plan, side: str) -> None:
    batch, found = tiny_batch(family, prompts, side), []
    text = batch["attention_mask"].bool() & (batch["input_ids"] != IMAGE)
    for model in (flash_model(family), tiny_model(family)):
        with apply(model, plan) as run:
            found.append((model(**batch).logits[text], [row.tolist() for rows in run.kept.values() for row in rows]))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-5)
    assert found[0][1] == found[1][1]


@KIND
@BATCH
@torch.no_grad()
def test_a_batch_generates_what_another_kernel_does(family: str, prompts: list[dict[str, Any]]) -> None:
    batch, found = tiny_batch(family, prompts), []
    for model in (flash_model(family), tiny_model(family)):
        with apply(model, PLANS["keep_inside_freeze"]):
            found.append(model.generate(**batch, **GREEDY).tolist())
    assert found[0] == found[1]


@KIND
@PLAN
@torch.no_grad()
def test_later_turns_equal_those_of_another_kernel(family: str, plan: Plan) -> None:
    first, second = tiny_prompt(family, seed=1), tiny_prompt(family, before=2, after=3, seed=2)
    words, found = second["input_ids"][0] != IMAGE, []
    text = {"input_ids": TEXT, "attention_mask": torch.ones_like(TEXT)}
    for model in (flash_model(family), tiny_model(family)):
        with apply(model, plan):
            cache = model(**first, use_cache=True).past_key_values
            turns = [(first, text), (first, text, second), (first, text, second, text)]
            inputs = [in_cache(model, *turn) for turn in turns]
            logits = [model(**turn, past_key_values=cache, use_cache=True).logits[0] for turn in inputs]
            found.append(torch.cat([logits[0], logits[1][words], logits[2]]))
    torch.testing.assert_close(found[0], found[1], atol=1e-5, rtol=1e-5)


@KIND
@torch.no_grad()
def test_a_plan_that_does_nothing_is_bit_identical(family: str) -> None:
    model, inputs = flash_model(family), tiny_batch(family, [{}, {"images": 2}])
    logits = model(**inputs).logits
    with apply(model, Plan((Keep(layer=2, keep_ratio=1.0),))):
        assert torch.equal(model(**inputs).logits, logits)
