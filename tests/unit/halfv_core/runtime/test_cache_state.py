"""Caches that are continued, cropped or too long: each is answered as it should be, or refused."""

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.errors import UnsupportedError
from tests.tiny import tiny_model, tiny_prompt

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


def test_a_prompt_beyond_the_sliding_window_is_refused() -> None:
    model, inputs = short_sighted(), tiny_prompt("gemma3")
    with torch.no_grad():
        whole = model(**inputs).logits
        with apply(model, Plan(())):
            assert torch.equal(model(**inputs).logits, whole)
        with pytest.raises(UnsupportedError) as caught, apply(model, PLAN):
            model(**inputs)
    assert str(caught.value) == (
        "a plan works only while prompt and answer fit the decoder's sliding window; got 28 tokens; expected 27 or "
        "fewer; shorten the prompt or the answer, or run this one without the plan"
    )


def test_an_answer_beyond_the_sliding_window_is_refused() -> None:
    inputs, options = tiny_prompt("gemma3"), {"do_sample": False, "max_new_tokens": 5}
    wide, narrow = tiny_model("gemma3"), short_sighted(32)
    with apply(wide, PLAN):
        answer = wide.generate(**inputs, **options)
    with apply(narrow, PLAN):
        assert torch.equal(narrow.generate(**inputs, **options), answer)  # its last token is never fed
        with pytest.raises(UnsupportedError, match="got 33 tokens; expected 32 or fewer"):
            narrow.generate(**inputs, do_sample=False, max_new_tokens=6)


def test_text_alone_may_outgrow_the_sliding_window() -> None:
    model, inputs = short_sighted(8), tiny_prompt("gemma3", images=0)
    ids = model.generate(**inputs, do_sample=False, max_new_tokens=4)
    with apply(model, PLAN):
        assert torch.equal(model.generate(**inputs, do_sample=False, max_new_tokens=4), ids)
