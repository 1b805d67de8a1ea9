"""Prompts in parts: generate() and forward keep the tokens that the whole prompt would keep, or refuse."""

import copy
from typing import Any

import pytest
import torch
from transformers import GenerationConfig

from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.errors import UnsupportedError
from tests.tiny import tiny_model, tiny_prompt

PLAN = Plan((Keep(layer=2, keep_ratio=0.5), Freeze(layers=[4])))
FAMILY = pytest.mark.parametrize("family", ["gemma3", "llava", "qwen2_5_vl"])
TEXT = torch.tensor([[7, 8, 9]])
GREEDY: dict[str, Any] = {"do_sample": False, "max_new_tokens": 3}


@FAMILY
@pytest.mark.parametrize("where", ["argument", "config", "positional_config", "model"])
def test_chunks_of_a_prompt_with_images_are_refused(family: str, where: str) -> None:
    model, prompt = tiny_model(family), tiny_prompt(family)
    ids, others = prompt["input_ids"], {name: value for name, value in prompt.items() if name != "input_ids"}
    config = GenerationConfig(prefill_chunk_size=8, **GREEDY)
    with apply(model, PLAN), pytest.raises(UnsupportedError) as caught:
        if where == "argument":
            model.generate(**prompt, prefill_chunk_size=8, **GREEDY)
        elif where == "config":
            model.generate(**prompt, generation_config=config)
        elif where == "positional_config":
            model.generate(ids, config, **others)
        else:
            model.generation_config.prefill_chunk_size = 8
            model.generate(**prompt, **GREEDY)
    assert str(caught.value) == (
        "a prompt with images cannot be prefilled in chunks under a plan; "
        f"got prefill_chunk_size=8 for {ids.shape[1]} tokens; pass prefill_chunk_size=None"
    )


@FAMILY
def test_chunks_that_change_nothing_are_allowed(family: str) -> None:
    """Text, a chunk that holds the whole prompt, and an argument that overrules the model's own setting."""
    model, image, text = tiny_model(family), tiny_prompt(family), tiny_prompt(family, images=0)
    with apply(model, PLAN):
        expected = [model.generate(**prompt, **GREEDY) for prompt in (image, text)]
        model.generation_config.prefill_chunk_size = 4
        found = [model.generate(**image, **GREEDY, prefill_chunk_size=None), model.generate(**text, **GREEDY)]
        assert all(map(torch.equal, found, expected))
        assert torch.equal(model.generate(**image, **GREEDY, prefill_chunk_size=100), expected[0])


@pytest.mark.parametrize("options", [{"prompt_lookup_num_tokens": 2}, {"assistant_early_exit": 2}, {"use_mtp": True}])
def test_assisted_decoding_by_the_models_own_settings_is_refused(options: dict[str, Any]) -> None:
    model, prompt = tiny_model("llava"), tiny_prompt("llava")
    model.generation_config.update(**options)
    with apply(model, PLAN), pytest.raises(UnsupportedError, match="assisted decoding cannot run under a plan"):
        model.generate(**prompt, **GREEDY)


@torch.no_grad()
def test_a_prompt_cut_at_its_image_by_hand_is_refused() -> None:
    """Behind the image, where its tokens were chosen without the question; and between two of its tokens."""
    model, prompt = tiny_model("llava"), tiny_prompt("llava", after=0)
    with apply(model, PLAN):
        cache = model(**prompt, use_cache=True).past_key_values
        with pytest.raises(UnsupportedError, match="the prompt was cut at an image.*one call"):
            model(input_ids=TEXT, past_key_values=copy.deepcopy(cache), use_cache=True)
        with pytest.raises(UnsupportedError, match="the prompt was cut at an image.*one call"):
            model(**tiny_prompt("llava", before=0), past_key_values=copy.deepcopy(cache), use_cache=True)
        answer = model(input_ids=TEXT[:, :1], past_key_values=cache, use_cache=True).logits
        assert answer.isfinite().all()
        model(input_ids=TEXT, past_key_values=cache, use_cache=True)  # a turn, after what the model answered
        generated = model.generate(**prompt, **GREEDY)
    assert generated.shape[1] == prompt["input_ids"].shape[1] + 3


@torch.no_grad()
def test_part_of_a_prompt_as_embeddings_is_refused() -> None:
    """Visual tokens in it could not be seen, so they would stay; a single token is one that was generated."""
    model, text = tiny_model("llava"), tiny_prompt("llava", images=0)
    embeds = model.get_input_embeddings()(TEXT)
    with apply(model, PLAN):
        cache = model(**text, use_cache=True).past_key_values
        with pytest.raises(UnsupportedError, match="visual tokens cannot be found in inputs_embeds; pass input_ids"):
            model(inputs_embeds=embeds, past_key_values=cache, use_cache=True)
        other = copy.deepcopy(cache)
        found = model(inputs_embeds=embeds[:, :1], past_key_values=cache, use_cache=True).logits
        assert torch.equal(found, model(input_ids=TEXT[:, :1], past_key_values=other, use_cache=True).logits)


@FAMILY
@torch.no_grad()
def test_text_in_parts_is_the_text_in_one(family: str) -> None:
    """Parts of text after a prompt with its image, before and after a copy."""
    model, prompt = tiny_model(family), tiny_prompt(family)
    with apply(model, PLAN):
        caches = [model(**prompt, use_cache=True).past_key_values for _ in range(2)]
        whole = model(input_ids=TEXT, past_key_values=caches[0], use_cache=True).logits
        parts, cache = [], caches[1]
        for part in TEXT.split(1, 1):
            cache = copy.deepcopy(cache)
            parts.append(model(input_ids=part, past_key_values=cache, use_cache=True).logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)
