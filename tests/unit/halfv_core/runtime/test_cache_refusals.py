"""A KV cache that comes into a plan or leaves it is right, or refused before it changes."""

import copy
import gc
import weakref
from typing import Any

import pytest
import torch
from transformers import DynamicCache, StaticCache

from halfv_core import Freeze, Plan, apply
from halfv_core.errors import UnsupportedError
from halfv_core.families import parts_of
from tests.masked_reference import masked_logits
from tests.tiny import LAYERS, tiny_batch, tiny_model, tiny_prompt
from tests.unit.halfv_core.runtime.caches import FAMILY, KERNEL, OTHER, PLAN, PROMPTS, TOKEN, Change, kept_in
from tests.unit.halfv_core.runtime.test_turns import TEXT, in_cache, joined


@KERNEL
@torch.no_grad()
def test_a_cache_comes_back_into_an_equal_plan(kernel: str) -> None:
    model, prompt = tiny_model("qwen2_5_vl", kernel=kernel), tiny_prompt("qwen2_5_vl")
    with apply(model, PLAN):
        cache = model(**prompt, use_cache=True).past_key_values
        expected = model(input_ids=TOKEN, past_key_values=copy.deepcopy(cache), use_cache=True).logits
    with apply(model, Plan(PLAN.interventions)) as run:
        assert torch.equal(model(input_ids=TOKEN, past_key_values=cache, use_cache=True).logits, expected)
    assert len(run.kept[3][0]) == 3 and run.cost.flops_ratio > 1


@FAMILY
@KERNEL
@torch.no_grad()
def test_a_pruned_cache_is_refused_without_its_plan(family: str, kernel: str) -> None:
    model, batch = tiny_model(family, kernel=kernel), tiny_batch(family, PROMPTS["different_counts"])
    tokens: dict[str, Any] = {"input_ids": TOKEN.expand(3, -1), "use_cache": True}
    with apply(model, PLAN):
        cache = model(**batch, use_cache=True).past_key_values
        with pytest.raises(UnsupportedError, match="was pruned under a plan and cannot be used without it"):
            tiny_model(family, kernel=kernel)(**tokens, past_key_values=copy.deepcopy(cache))
    whole = torch.cat([batch["input_ids"], tokens["input_ids"]], 1)
    reordered = copy.deepcopy(cache)
    reordered.reorder_cache(torch.tensor([2, 1, 0]))
    for used in (cache, copy.deepcopy(cache), reordered):
        with pytest.raises(UnsupportedError, match="was pruned under a plan and cannot be used without it"):
            model(**tokens, past_key_values=used)
    with pytest.raises(UnsupportedError, match="of the same plan, or start a new cache"):
        model.generate(input_ids=whole, past_key_values=cache, max_new_tokens=2)
    with apply(model, OTHER), pytest.raises(UnsupportedError) as caught:
        model(**tokens, past_key_values=cache)
    said = str(caught.value)
    assert said.startswith("this KV cache was pruned under another plan; got layer 1: keep 0.6 of the visual tokens")
    assert said.endswith("; continue it under its own plan, or start a new cache")
    with apply(model, PLAN):  # nothing was added to it in vain
        assert model(**tokens, past_key_values=cache).logits.isfinite().all()


@KERNEL
@torch.no_grad()
def test_a_whole_cache_may_leave_its_plan(kernel: str) -> None:
    """Freezing keeps all tokens: what follows is the same with the plan, without it and under another one."""
    model, prompt = tiny_model("llava", kernel=kernel), tiny_prompt("llava")
    with apply(model, Plan((Freeze(layers=[2, 3]),))):
        cache = model(**prompt, use_cache=True).past_key_values
        expected = model(input_ids=TEXT, past_key_values=copy.deepcopy(cache), use_cache=True).logits
    assert torch.equal(model(input_ids=TEXT, past_key_values=copy.deepcopy(cache), use_cache=True).logits, expected)
    with apply(model, PLAN):
        assert torch.equal(model(input_ids=TEXT, past_key_values=cache, use_cache=True).logits, expected)


@FAMILY
@KERNEL
@torch.no_grad()
def test_a_cache_from_outside_is_continued_and_new_images_are_pruned(family: str, kernel: str) -> None:
    model = tiny_model(family, kernel=kernel)
    first, second = tiny_prompt(family, images=0, seed=1), tiny_prompt(family, seed=2)
    cache = model(**first, use_cache=True).past_key_values
    with apply(model, PLAN) as run:
        logits = model(**in_cache(model, first, second), past_key_values=cache, use_cache=True).logits[0, -1]
        kept = kept_in(run, 0)
        assert run.cost.kv_bytes == sum(
            x.numel() * x.element_size() for layer in cache.layers for x in (layer.keys, layer.values)
        )
    assert [len(kept[layer]) for layer in (1, 3)] == [9, 3]
    expected = masked_logits(model, joined(family, first, second), PLAN, kept)[-1]
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_an_image_from_outside_stays_whole_under_the_plan() -> None:
    model, prompt = tiny_model("llava"), tiny_prompt("llava")
    cache = model(**prompt, use_cache=True).past_key_values
    expected = model(input_ids=TEXT, past_key_values=copy.deepcopy(cache), use_cache=True).logits
    with apply(model, PLAN) as run:
        assert torch.equal(model(input_ids=TEXT, past_key_values=cache, use_cache=True).logits, expected)
        model(input_ids=TOKEN, past_key_values=cache, use_cache=True)
    assert run.cost.flops_ratio == run.cost.kv_ratio == 1.0
    assert run.cost.kv_bytes == sum(
        x.numel() * x.element_size() for layer in cache.layers for x in (layer.keys, layer.values)
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c.layers[3].batch_repeat_interleave(2), "not those that the plan has seen; got 2 rows at layer 3"),
        (lambda c: c.batch_repeat_interleave(3), "does not have the rows of the input; got 1 rows; expected 3"),
        (lambda c: DynamicCache(list(c)), "no longer fit together; got {pruned} tokens at layer 1; expected {whole}"),
        (lambda c: c.layers[2].crop(-1), "no longer fit together; got {cut} tokens at layer 2; expected {pruned}"),
        (lambda c: c.crop(-1), "the cache was cut into the prompt; got {short}; expected {whole} or more"),
    ],
)
@pytest.mark.parametrize(("family", "tokens"), [("llava", 26), ("qwen2_5_vl", 28)])
@torch.no_grad()
def test_a_cache_that_does_not_fit_is_refused_before_it_changes(
    change: Change, said: str, family: str, tokens: int
) -> None:
    model, prompt = tiny_model(family), tiny_prompt(family)
    said = said.format(pruned=tokens - 7, cut=tokens - 8, short=tokens - 1, whole=tokens)
    with apply(model, PLAN):
        cache = model(**prompt, use_cache=True).past_key_values
        cache = change(cache) or cache
        lengths = [layer.get_seq_length() for layer in cache.layers]
        with pytest.raises(UnsupportedError) as caught:
            model(input_ids=TOKEN, past_key_values=cache, use_cache=True)
    assert said in str(caught.value)
    assert [layer.get_seq_length() for layer in cache.layers] == lengths


@pytest.mark.parametrize("empty", [lambda cache: cache.reset(), lambda cache: cache.crop(-26)])
@torch.no_grad()
def test_an_emptied_cache_is_free_again(empty: Change) -> None:
    model, prompt = tiny_model("llava"), tiny_prompt("llava")
    expected = model(**prompt, use_cache=True).logits
    with apply(model, PLAN):
        cache = model(**prompt, use_cache=True).past_key_values
    empty(cache)
    assert torch.equal(model(**prompt, past_key_values=cache, use_cache=True).logits, expected)


@torch.no_grad()
def test_a_cache_that_a_failed_call_left_half_filled_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model, prompt = tiny_model("llava"), tiny_prompt("llava")

    def fail(*args: object) -> None:
        raise MemoryError

    cache = DynamicCache()
    with apply(model, PLAN):
        monkeypatch.setattr(parts_of(model).layers[LAYERS - 1].mlp, "forward", fail)
        with pytest.raises(MemoryError):
            model(**prompt, past_key_values=cache, use_cache=True)
        monkeypatch.undo()
        with pytest.raises(UnsupportedError, match="left this KV cache half filled; start a new cache"):
            model(input_ids=TOKEN, past_key_values=cache, use_cache=True)
    with pytest.raises(UnsupportedError, match="cannot be used without it"):
        model(input_ids=TOKEN, past_key_values=cache, use_cache=True)


@torch.no_grad()
def test_nothing_of_a_cache_outlives_it() -> None:
    model, prompt = tiny_model("llava"), tiny_prompt("llava")
    with apply(model, PLAN):
        cache = model(**prompt, use_cache=True).past_key_values
        held = [weakref.ref(one) for one in (cache, cache.plan_state, cache.layers[3].keys)]
        del cache
        gc.collect()
        assert [one() for one in held] == [None] * 3


@torch.no_grad()
def test_text_goes_through_any_cache() -> None:
    """Also one that was begun before the plan was applied."""
    model, prompt = tiny_model("llava"), tiny_prompt("llava", images=0)

    def logits() -> list[torch.Tensor]:
        cache = StaticCache(config=model.config.get_text_config(), max_cache_len=32)
        return [model(**i, past_key_values=cache, use_cache=True).logits for i in (prompt, {"input_ids": TOKEN})]

    expected = logits()
    with apply(model, PLAN) as run:
        assert all(map(torch.equal, logits(), expected))
    assert run.cost.kv_bytes == LAYERS * 2 * 11 * 32 * 4
    cache = StaticCache(config=model.config.get_text_config(), max_cache_len=32)
    model(**prompt, past_key_values=cache, use_cache=True)
    with apply(model, PLAN) as run:
        assert torch.equal(model(input_ids=TOKEN, past_key_values=cache, use_cache=True).logits, expected[1])
    assert run.cost.kv_bytes == LAYERS * 2 * 11 * 32 * 4
