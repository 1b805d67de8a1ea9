"""Conversations that continue in one cache: images in a later turn are pruned like those of the first."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import DynamicCache, PreTrainedModel

from halfv_core import Plan, apply
from halfv_core.families import FAMILIES
from tests.contract.test_families import GREEDY, PLAN, PLANS, plans
from tests.masked_reference import Chosen, generate_by_recomputation, masked_logits
from tests.tiny import IMAGE, TINY, tiny_batch, tiny_model, tiny_prompt, token_inputs

FAMILY = pytest.mark.parametrize("family", sorted(FAMILIES))
TEXT = torch.tensor([[7, 8, 9]])


def joined(family: str, *turns: dict[str, Any]) -> dict[str, Any]:
    """One prompt of several turns."""
    whole: dict[str, Any] = {}
    for name in {name for turn in turns for name in turn}:
        if any(name in token_inputs(turn) for turn in turns):
            whole[name] = torch.cat([turn.get(name, torch.zeros_like(turn["input_ids"])) for turn in turns], 1)
        else:
            whole[name] = torch.cat([turn[name] for turn in turns if name in turn], 1 if TINY[family].by_row else 0)
    return whole


def in_cache(model: PreTrainedModel, *turns: dict[str, Any]) -> dict[str, Any]:
    """The inputs of the last turn when the others are in the cache.

    Gemma 3 must be told from the start which tokens are images, the Qwen models at which positions the new tokens are.
    """
    family = model.config.model_type
    last, whole = without_mask(turns[-1]), joined(family, *turns)
    if family == "gemma3" and TINY[family].kinds in last:
        last[TINY[family].kinds] = whole[TINY[family].kinds]
    return last | positions(model, whole, last["input_ids"].shape[1])


def positions(model: PreTrainedModel, whole: dict[str, Any], new: int) -> dict[str, torch.Tensor]:
    """Positions of the Qwen models' last tokens, (3, B, new); nothing for the others, which continue by themselves."""
    if not model.config.model_type.startswith("qwen"):
        return {}
    given = {name: whole.get(name) for name in ("image_grid_thw", "attention_mask")}
    kinds = whole.get("mm_token_type_ids", torch.zeros_like(whole["input_ids"]))
    index, _ = model.model.get_rope_index(whole["input_ids"], kinds, **given)  # (3, B, N)
    return {"position_ids": index[..., -new:]}


def without_mask(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name != "attention_mask"}


@FAMILY
@PLAN
@torch.no_grad()
def test_an_image_in_a_later_turn_equals_the_masked_reference(family: str, plan: Plan) -> None:
    """Image, text, image, text: logits of the last two turns, and what the caches hold."""
    model = tiny_model(family)
    first, second = tiny_prompt(family, seed=1), tiny_prompt(family, before=2, after=3, seed=2)
    text = {"input_ids": TEXT, "attention_mask": torch.ones_like(TEXT)}
    whole = joined(family, first, text, second, text)
    turns = [(first, text), (first, text, second), (first, text, second, text)]
    with apply(model, plan) as run:
        cache = model(**first, use_cache=True).past_key_values
        _, logits, after = (
            model(**in_cache(model, *turn), past_key_values=cache, use_cache=True).logits[0] for turn in turns
        )
        kept = {layer: rows[0] for layer, rows in run.kept.items()}
        cost = run.cost
    expected = masked_logits(model, whole, plan, kept)
    new = second["input_ids"].shape[1]
    words = second["input_ids"][0] != IMAGE
    torch.testing.assert_close(logits[words], expected[-3 - new : -3][words], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(after, expected[-3:], atol=1e-5, rtol=1e-5)
    sizes = [x.numel() * x.element_size() for layer in cache.layers for x in (layer.keys, layer.values)]
    assert cost.kv_bytes == sum(sizes)


@FAMILY
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
@torch.no_grad()
def test_any_conversation_equals_the_masked_reference(family: str, data: st.DataObject) -> None:
    model, plan = tiny_model(family, kernel=data.draw(st.sampled_from(["eager", "sdpa"]))), data.draw(plans())
    turn = st.fixed_dictionaries({"images": st.integers(0, 2), "before": st.integers(1, 4), "after": st.integers(1, 4)})
    turns = [tiny_prompt(family, seed=seed, **data.draw(turn)) for seed in range(data.draw(st.integers(2, 4)))]
    whole, cache, found = joined(family, *turns), DynamicCache(), []
    with apply(model, plan) as run:
        for number in range(len(turns)):
            inputs = in_cache(model, *turns[: number + 1])
            found.append(model(**inputs, past_key_values=cache, use_cache=True).logits[0])
        chosen = Chosen.of(run)
    words = whole["input_ids"][0] != IMAGE
    ends = torch.tensor([turn["input_ids"].shape[1] for turn in turns]).cumsum(0)[:-1].tolist()
    expected = masked_logits(model, whole, plan, chosen, ends)
    torch.testing.assert_close(torch.cat(found)[words], expected[words], atol=1e-5, rtol=1e-5)


@FAMILY
@torch.no_grad()
def test_an_image_after_a_text_turn_is_pruned(family: str) -> None:
    model, plan = tiny_model(family), PLANS["keep_twice"]
    first, second = {"input_ids": TEXT, "attention_mask": torch.ones_like(TEXT)}, tiny_prompt(family, seed=2)
    with apply(model, plan) as run:
        cache = model(input_ids=TEXT, use_cache=True).past_key_values
        logits = model(**in_cache(model, first, second), past_key_values=cache, use_cache=True).logits[0, -1]
        kept = {layer: rows[0] for layer, rows in run.kept.items()}
    whole = joined(family, first, second)
    torch.testing.assert_close(logits, masked_logits(model, whole, plan, kept)[-1], atol=1e-5, rtol=1e-5)
    assert [len(kept[layer]) for layer in (1, 3)] == [9, 2]


@FAMILY
@torch.no_grad()
def test_generate_prunes_an_image_of_a_later_turn(family: str) -> None:
    """generate() is given the whole conversation, the pixels of the new turn and the cache."""
    model, plan = tiny_model(family), PLANS["keep_twice"]
    first, second = {"input_ids": TEXT, "attention_mask": torch.ones_like(TEXT)}, tiny_prompt(family, seed=2)
    whole = joined(family, first, second)
    with apply(model, plan) as run:
        cache = model(input_ids=TEXT, use_cache=True).past_key_values
        ids = model.generate(**whole, past_key_values=cache, **GREEDY)[0, whole["input_ids"].shape[1] :].tolist()
        kept = {layer: rows[0] for layer, rows in run.kept.items()}
    assert [len(kept[layer]) for layer in (1, 3)] == [9, 2]
    assert ids == generate_by_recomputation(model, whole, plan, kept, GREEDY["max_new_tokens"])


@FAMILY
@torch.no_grad()
def test_a_later_text_turn_of_a_batch(family: str) -> None:
    """Rows with different visual counts and padding continue by several tokens at once."""
    model, plan = tiny_model(family), PLANS["keep_then_freeze"]
    prompts: list[dict[str, Any]] = [{"images": 2, "after": 3}, {"before": 20, "after": 6}]
    batch = tiny_batch(family, prompts)
    turn = TEXT.expand(2, -1)
    whole = joined(family, batch, {"input_ids": turn, "attention_mask": torch.ones_like(turn)})
    with apply(model, plan):
        cache = model(**batch, use_cache=True).past_key_values
        last = {"input_ids": turn, "attention_mask": whole["attention_mask"]} | positions(model, whole, turn.shape[1])
        found = model(**last, past_key_values=cache, use_cache=True).logits
        for row, prompt in enumerate(prompts):
            alone = tiny_prompt(family, seed=row, **prompt)
            own = model(**alone, use_cache=True).past_key_values
            expected = model(input_ids=TEXT, past_key_values=own, use_cache=True).logits[0]
            torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-5)


@FAMILY
@torch.no_grad()
def test_rows_of_one_length_need_no_mask_of_the_users(family: str) -> None:
    """Padding slots without a padding mask: two rows of the same length, one with two images and one with one."""
    model, plan = tiny_model(family), PLANS["keep_twice"]
    prompts: list[dict[str, Any]] = [{"images": 2, "between": (1,), "after": 3}, {"before": 12, "after": 12}]
    prompts[1]["after"] += sum(map(len, TINY[family].around))
    rows = [tiny_prompt(family, seed=seed, **prompt) for seed, prompt in enumerate(prompts)]
    assert rows[0]["input_ids"].shape == rows[1]["input_ids"].shape
    batch = without_mask(tiny_batch(family, prompts))
    token = torch.tensor([[5], [5]])
    with apply(model, plan):
        cache = model(**batch, use_cache=True).past_key_values
        steps = [
            model(input_ids=turn, past_key_values=cache, use_cache=True).logits for turn in (token, TEXT.expand(2, -1))
        ]
        for row, inputs in enumerate(rows):
            own = model(**inputs, use_cache=True).past_key_values
            for found, turn in zip(steps, (token[:1], TEXT), strict=True):
                expected = model(input_ids=turn, past_key_values=own, use_cache=True).logits[0]
                torch.testing.assert_close(found[row], expected, atol=1e-5, rtol=1e-5)
