"""Visual keys and values that are gone while decoding, against decoding with a cache."""

from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from halfv_core.families import parts_of
from probe.analyzers.variants.cache_removal import CacheRemoval
from tests.tiny import LAYERS
from tests.unit.probe.analyzers.variants.prompts import measured, prompt_of


@torch.no_grad()
def decoded(model: PreTrainedModel, inputs: dict[str, Any], answer: list[int], visual: torch.Tensor, first: int) -> Any:
    """(T-1, vocabulary) log-probabilities behind all answer tokens but the last, one cached step at a time."""

    def blind(layer: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        length = kwargs["past_key_values"].get_seq_length(layer.self_attn.layer_idx) + 1
        mask = torch.zeros(1, 1, 1, length)
        mask[..., : len(visual)][..., visual] = torch.finfo(torch.float32).min
        return args, kwargs | {"attention_mask": mask}

    output = model(**inputs, use_cache=True)
    hooks = [layer.register_forward_pre_hook(blind, with_kwargs=True) for layer in parts_of(model).layers[first:]]
    rows = []
    for token in answer[:-1]:
        output = model(input_ids=torch.tensor([[token]]), past_key_values=output.past_key_values, use_cache=True)
        rows.append(output.logits[0, -1])
    for hook in hooks:
        hook.remove()
    return torch.stack(rows).double().log_softmax(-1)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "qwen3_vl"])
def test_it_equals_cached_decoding(family: str) -> None:
    prompt = prompt_of(family, tokens=4)
    answer = list(prompt.run.answer)
    item = measured("cache_removal", prompt.run)
    full = decoded(prompt.model, prompt.inputs, answer, prompt.visual, LAYERS)
    ids = torch.tensor(answer[1:])
    assert torch.equal(full.argmax(1), ids)
    for first in range(LAYERS):
        found = decoded(prompt.model, prompt.inputs, answer, prompt.visual, first)
        assert item["same"][first] == bool((found.argmax(1) == ids).all())
        expected = float((found - full).gather(1, ids[:, None]).mean())
        assert item["change"][first] == pytest.approx(expected, abs=1e-5)
        assert abs(expected) > 1e-4


def test_answers_of_one_token_are_left_out() -> None:
    short = measured("cache_removal", prompt_of("llava", tokens=1).run)
    assert short is None
    assert CacheRemoval().combine({"short": short}) == []
    long = {"same": [True, False], "change": [0.0, -1.0]}
    kept, change = CacheRemoval().combine({"short": short, "long": long})
    assert (kept.mean, kept.samples) == ((1.0, 0.0), 1)
    assert change.mean == (0.0, -1.0)
