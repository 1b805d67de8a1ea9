"""Caches that are continued, cropped or too long: each is answered as it should be, or refused."""

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.errors import UnsupportedError
from tests.masked_reference import Chosen, generate_by_recomputation, masked_logits
from tests.tiny import IMAGE, TINY, continued, prepared, text_config, tiny_model, tiny_prompt, token_inputs

PLAN = Plan((Keep(layer=2, keep_ratio=0.5), Freeze(layers=[4])))


def test_two_caches_taken_in_turn() -> None:
    model = tiny_model("llava")
    first, second = tiny_prompt("llava", seed=1), tiny_prompt("llava", before=7, seed=2)
    token = torch.tensor([[5]])
    with torch.no_grad(), apply(model, PLAN):
        alone = []
        for inputs in (first, second):
            cache = model(**inputs, use_cache=True).past_key_values
            alone.append(model(input_ids=token, past_key_values=cache, use_cache=True).logits)
        caches = [model(**inputs, use_cache=True).past_key_values for inputs in (first, second)]
        mixed = [model(input_ids=token, past_key_values=cache, use_cache=True).logits for cache in caches]
    assert all(torch.equal(a, b) for a, b in zip(alone, mixed, strict=True))


def test_a_cache_filled_before_apply_is_continued_unpruned() -> None:
    model, inputs, token = tiny_model("qwen2_5_vl"), tiny_prompt("qwen2_5_vl"), torch.tensor([[5]])
    with torch.no_grad():
        full = [model(**inputs, use_cache=True).past_key_values for _ in range(2)]
        expected = model(input_ids=token, past_key_values=full[0], use_cache=True).logits
        with apply(model, PLAN):
            found = model(input_ids=token, past_key_values=full[1], use_cache=True).logits
    assert torch.equal(expected, found)


def test_an_image_token_that_the_model_writes_is_text() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    with torch.no_grad(), apply(model, PLAN) as run:
        cache = model(**inputs, use_cache=True).past_key_values
        model(input_ids=torch.tensor([[60]]), past_key_values=cache, use_cache=True)
    assert len(run.kept[2][0]) == 8


def test_a_cut_cache_goes_on_where_it_was_cut() -> None:
    model, inputs, token = tiny_model("llava"), tiny_prompt("llava"), torch.tensor([[5]])
    with torch.no_grad(), apply(model, PLAN):
        cache = model(**inputs, use_cache=True).past_key_values
        first = model(input_ids=token, past_key_values=cache, use_cache=True).logits
        model(input_ids=torch.tensor([[6, 7]]), past_key_values=cache, use_cache=True)
        cache.crop(-3)
        assert torch.equal(model(input_ids=token, past_key_values=cache, use_cache=True).logits, first)


@pytest.mark.parametrize(
    ("cut", "said"),
    [
        (lambda cache: cache.crop(-3), "cut into the prompt; got 24; expected 26 or more"),
        (lambda cache: cache.layers[3].crop(-1), "no longer fit together; got 18 tokens at layer 3; expected 19"),
    ],
)
def test_a_cache_that_no_longer_fits_is_refused_instead_of_misread(cut: Any, said: str) -> None:
    model, inputs, token = tiny_model("llava"), tiny_prompt("llava"), torch.tensor([[5]])
    with torch.no_grad(), apply(model, PLAN):
        cache = model(**inputs, use_cache=True).past_key_values
        model(input_ids=token, past_key_values=cache, use_cache=True)
        cut(cache)
        with pytest.raises(UnsupportedError) as caught:
            model(input_ids=token, past_key_values=cache, use_cache=True)
    assert said in str(caught.value)


def short_sighted(window: int = 27) -> PreTrainedModel:
    """Gemma 3 whose sliding layers see fewer tokens than the prompt of 28 has, or as many as said."""
    model = tiny_model("gemma3")
    text = model.config.get_text_config()
    text.sliding_window = window
    return model


@pytest.mark.parametrize("window", [4, 9, 20, 27, 30])
@pytest.mark.parametrize("ratios", [(0.0, 0.0), (0.3, 0.1)])
@pytest.mark.parametrize("frozen", [(), (2, 3)])
def test_a_sliding_window_is_counted_in_positions(window: int, ratios: tuple[float, float], frozen: Any) -> None:
    """Prompts and answers beyond the window, as in a masked run in which every token keeps its place."""
    model, inputs = short_sighted(window), tiny_prompt("gemma3", before=6, images=2)
    keeps = [
        Keep(layer=layer, keep_ratio=ratio, selector="uniform") for layer, ratio in zip((1, 3), ratios, strict=True)
    ]
    plan = Plan((*keeps, Freeze(layers=frozen)) if frozen else keeps)
    with torch.no_grad(), apply(model, plan) as run:
        logits, kept = model(**inputs).logits[0], Chosen.of(run)
        out = model.generate(**inputs, do_sample=False, max_new_tokens=6, return_dict_in_generate=True)
    text = inputs["input_ids"][0] != IMAGE
    expected = masked_logits(model, inputs, plan, kept)
    torch.testing.assert_close(logits[text], expected[text], atol=1e-5, rtol=1e-5)
    answer = out.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    assert answer == generate_by_recomputation(model, inputs, plan, kept, 6)
    assert run.cost.kv_bytes == sum(
        x.nbytes for layer in out.past_key_values.layers for x in (layer.keys, layer.values)
    )


@pytest.mark.parametrize("window", [5, 9, 30])
def test_a_later_image_beyond_the_window(window: int) -> None:
    """A second turn with an image, after a pruned one, as if both had come in one call."""
    torch.manual_seed(0)
    model = prepared(TINY["llava_next"].build(text_config("mistral") | {"sliding_window": window}))
    plan, token = Plan((Keep(layer=1, keep_ratio=0.25, selector="uniform"),)), torch.tensor([[7]])
    first, second = (tiny_prompt("llava_next", seed=seed) for seed in (0, 1))
    both = {name: torch.cat([first[name], second[name]], int(name in token_inputs(first))) for name in first}
    with torch.no_grad(), apply(model, plan) as run:
        cache = model(**first, use_cache=True).past_key_values
        turn = second | {"attention_mask": both["attention_mask"], "past_key_values": cache, "use_cache": True}
        logits, kept = [model(**turn).logits[0]], Chosen.of(run)
        logits.append(model(input_ids=token, past_key_values=cache, use_cache=True).logits[0])
    start = first["input_ids"].shape[1]
    expected = masked_logits(model, continued(both, token), plan, kept)[start:]
    text = torch.cat([second["input_ids"][0] != IMAGE, torch.tensor([True])])
    torch.testing.assert_close(torch.cat(logits)[text], expected[text], atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("flash")
def test_beyond_the_window_flash_attention_is_refused() -> None:
    model, inputs = short_sighted(), tiny_prompt("gemma3")
    model.config.get_text_config()._attn_implementation = "flash_attention_2"
    with torch.no_grad(), pytest.raises(UnsupportedError, match="got 28 tokens; expected 27 or fewer"):
        with apply(model, PLAN):
            model(**inputs)


def test_beyond_the_window_nothing_is_taken_out_of_caches() -> None:
    model, inputs = short_sighted(), tiny_prompt("gemma3")
    plan = Plan((Keep(layer=2, keep_ratio=0.5, cache="everywhere"),))
    with torch.no_grad(), pytest.raises(UnsupportedError, match="cache='everywhere'.* got 28 tokens; expected 27"):
        with apply(model, plan):
            model(**inputs)


def test_text_alone_may_outgrow_the_sliding_window() -> None:
    model, inputs = short_sighted(8), tiny_prompt("gemma3", images=0)
    ids = model.generate(**inputs, do_sample=False, max_new_tokens=4)
    with apply(model, PLAN):
        assert torch.equal(model.generate(**inputs, do_sample=False, max_new_tokens=4), ids)
