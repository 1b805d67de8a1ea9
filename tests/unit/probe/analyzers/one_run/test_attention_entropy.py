"""Attention entropy against closed forms, bounds and the model's own attention."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.analyzers.findings import HeadMap, LayerSeries
from probe.analyzers.one_run.attention_entropy import AttentionEntropy, attention_entropy
from probe.capture.prompt_run import PromptRun
from tests.tiny import LAYERS, TINY, text_config, tiny_model, tiny_prompt


@pytest.mark.parametrize("keys", [1, 2, 7, 500])
def test_even_attention_has_the_logarithm_of_the_number_of_keys(keys: int) -> None:
    assert float(attention_entropy(torch.full((keys,), 3.0))) == pytest.approx(math.log(keys), abs=1e-5)


def test_keys_that_are_not_seen_do_not_count() -> None:
    logits = torch.tensor([0.0, -torch.inf, 0.0, -torch.inf])
    assert float(attention_entropy(logits)) == pytest.approx(math.log(2))
    assert float(attention_entropy(logits[1:2])) == 0.0
    assert float(attention_entropy(torch.tensor([80.0, 0.0, 0.0]))) == pytest.approx(0.0, abs=1e-30)


def test_of_two_keys() -> None:
    logits = torch.tensor([[0.25, 0.75], [0.5, 0.5]]).log()
    wanted = torch.tensor([-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)), math.log(2)])
    torch.testing.assert_close(attention_entropy(logits), wanted)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-30, 30), min_size=1, max_size=12), st.floats(-50, 50))
def test_it_is_bounded_and_does_not_depend_on_a_common_offset(logits: list[float], offset: float) -> None:
    entropy = float(attention_entropy(torch.tensor(logits)))
    assert -1e-6 <= entropy <= math.log(len(logits)) + 1e-5
    assert float(attention_entropy(torch.tensor(logits) + offset)) == pytest.approx(entropy, abs=1e-3)


def test_numbers_that_are_not_finite_are_not_hidden() -> None:
    assert attention_entropy(torch.tensor([torch.nan, torch.nan])).isnan()


@pytest.mark.parametrize("family", ["gemma3", "qwen2_5_vl"])
@torch.no_grad()
def test_of_the_models_own_attention(family: str) -> None:
    model, inputs = tiny_model(family, kernel="eager"), tiny_prompt(family, images=2)
    run, probe = PromptRun(model, inputs), AttentionEntropy()
    item = probe.measure(run, run.at_every_layer(lambda at, prompt: probe.look(at, prompt, run)), example=False)
    findings = {finding.name: finding for finding in probe.combine({"a": item, "b": item})}
    for layer, attention in enumerate(model(**inputs, output_attentions=True).attentions):
        last = attention[0, :, -1].double()  # (H, N)
        for keys, weights in (("all", last), ("visual", last[:, run.visual])):
            shares = weights / weights.sum(-1, keepdim=True)
            heads = -(shares * shares.log()).nan_to_num(0.0).sum(-1)
            by_head, series = findings[f"entropy_{keys}_by_head"], findings[f"entropy_{keys}"]
            assert isinstance(by_head, HeadMap) and isinstance(series, LayerSeries)
            assert by_head.mean[layer] == pytest.approx(heads.tolist(), abs=1e-5)
            assert series.mean[layer] == pytest.approx(float(heads.mean()), abs=1e-5)
    assert len(findings) == 4 and len(findings["entropy_all_by_head"].mean) == LAYERS


def test_a_prompt_that_ends_in_its_image() -> None:
    """The last token is a visual one then."""
    inputs = tiny_prompt("llava", after=0)
    run, probe = PromptRun(tiny_model("llava"), inputs), AttentionEntropy()
    first, *_ = probe.measure(run, run.at_every_layer(lambda at, prompt: probe.look(at, prompt, run)), example=False)
    assert all(0 < over_all < math.log(20) and 0 < over_visual < math.log(16) for over_all, over_visual in first)


@torch.no_grad()
def test_an_image_outside_of_the_sliding_window() -> None:
    """Layers 1 and 4 see everything, the others the last 6 tokens."""
    model = TINY["gemma3"].build(text_config("gemma3_text") | {"sliding_window": 6}).eval()
    run, probe = PromptRun(model, tiny_prompt("gemma3", after=9)), AttentionEntropy()
    item = probe.measure(run, run.at_every_layer(lambda at, prompt: probe.look(at, prompt, run)), example=False)
    for layer, heads in enumerate(item):
        sees = layer in (1, 4)
        assert all((over_visual > 0) == sees and (over_all <= math.log(6) or sees) for over_all, over_visual in heads)
