"""Variants that share layers and tokens with the recorded run, against a whole run of each."""

from typing import Any

import pytest
import torch

from halfv_core.errors import DataError, UnsupportedError
from halfv_core.families import FAMILIES, parts_of
from probe.capture.changes import Change, Variant
from probe.capture.layer_calls import LayerCalls
from probe.capture.variants import run_variants, with_vision
from tests.flash import flash_model, use_flash
from tests.separate_run import evaluations, separate_run
from tests.tiny import IMAGE, LAYERS, tiny_model, tiny_prompt


def only(length: int, *positions: int) -> torch.Tensor:
    mask = torch.zeros(length, dtype=torch.bool)
    mask[list(positions)] = True
    return mask


def all_kinds(calls: LayerCalls, visual: torch.Tensor) -> list[Variant]:
    """Changes of each kind, alone and together, of some tokens or all, in the first, a middle and the last layer."""
    length = calls.length
    last = only(length, length - 1)
    text = ~visual & (visual.cumsum(0) > 0)
    noise = torch.randn(length, calls.states[0].shape[2], generator=torch.Generator().manual_seed(1))
    return [
        {layer: Change(unseen=(last, visual)) for layer in range(LAYERS)},
        {2: Change(unseen=(last, last))},
        {LAYERS - 1: Change(unseen=(text & ~last, visual))},
        {1: Change(unseen=(text, visual)), 2: Change(unseen=(text, visual))},
        {3: Change(head_off=(last, 1))},
        {0: Change(head_off=(torch.ones_like(last), 2))},
        {0: Change(put=(visual, noise))},
        {3: Change(put=(text, noise))},
        {LAYERS: Change(put=(last, noise))},
        {1: Change(unseen=(text, visual), head_off=(last, 0), put=(visual, noise)), 3: Change(put=(last, noise))},
    ]


@pytest.mark.parametrize(
    ("family", "kernel"), [*((family, "sdpa") for family in sorted(FAMILIES)), ("gemma3", "eager"), ("llava", "eager")]
)
def test_each_equals_a_run_of_its_own(family: str, kernel: str) -> None:
    model, inputs = tiny_model(family, kernel=kernel), tiny_prompt(family, images=2)
    visual = inputs["input_ids"][0] == IMAGE
    calls = LayerCalls.record(model, inputs)
    variants = all_kinds(calls, visual)
    references = torch.stack([separate_run(model, inputs, variant) for variant in variants])
    everything = torch.arange(calls.length)
    found = run_variants(calls, variants, read=everything)
    torch.testing.assert_close(found, references, atol=1e-5, rtol=1e-4)
    assert bool(((found - calls.states[-1]).abs().amax((1, 2)) > 1e-2).all())
    text = ~visual & (visual.cumsum(0) > 0)  # in two pieces; what images see does not matter if nothing sees them
    gone = dict.fromkeys(range(1, LAYERS), Change(unseen=(text, visual)))
    alone = run_variants(calls, [gone], rows=text, read=text.nonzero()[:, 0])[0]
    torch.testing.assert_close(alone, separate_run(model, inputs, gone)[text], atol=1e-5, rtol=1e-4)
    few = run_variants(calls, variants, tokens=3 * calls.length)
    torch.testing.assert_close(few, references[:, -1:], atol=1e-5, rtol=1e-4)
    for variant, reference in zip(variants, references, strict=True):
        alone = run_variants(calls, [variant])[0]  # of its own rows only
        torch.testing.assert_close(alone, reference[-1:], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_run_with_other_vision_features_equals_one_in_which_they_were_put(family: str) -> None:
    model, inputs = tiny_model(family), tiny_prompt(family, images=2)
    visual = inputs["input_ids"][0] == IMAGE
    calls = LayerCalls.record(model, inputs)
    changed = with_vision(calls, visual, lambda states: states.flip(0))
    places = torch.arange(calls.length)
    places[visual] = places[visual].flip(0)
    states = calls.states[0][0, places]
    if calls.features:  # which the model adds to the inputs of layers 1, 2 and 3
        moved = [features[0, places] for features in calls.features]
        parts, add = parts_of(model), iter(moved)
        parts.decoder._deepstack_process = lambda hidden, *_: hidden + next(add)
    reference = separate_run(model, inputs, {0: Change(put=(visual, states))})
    torch.testing.assert_close(changed.states[-1][0], reference, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(changed.states[-1][0, -1], calls.states[-1][0, -1], atol=1e-3)
    unchanged = with_vision(calls, visual, lambda states: states)
    torch.testing.assert_close(unchanged.states[-1], calls.states[-1], atol=1e-5, rtol=1e-4)


def test_gemma_beyond_its_window() -> None:
    """Layers that slide do not see all of the prompt, and layers of the two kinds have masks of their own."""
    model, inputs = tiny_model("gemma3"), tiny_prompt("gemma3", before=2, after=12)
    config: Any = model.config.get_text_config()
    config.sliding_window = 10
    for layer in parts_of(model).layers:
        if layer.self_attn.is_sliding:
            layer.self_attn.sliding_window = 10
    visual = inputs["input_ids"][0] == IMAGE
    calls = LayerCalls.record(model, inputs)
    assert not torch.equal(calls.seen(0), calls.seen(1))
    far = only(calls.length, calls.length - 12)  # the last token sees it through others, or in layers 1 and 4
    for variant in [*all_kinds(calls, visual), {1: Change(unseen=(far, visual))}, {2: Change(unseen=(far, visual))}]:
        (state,) = run_variants(calls, [variant])
        torch.testing.assert_close(state[0], separate_run(model, inputs, variant)[-1], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_flash_attention(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    use_flash(monkeypatch)
    inputs = tiny_prompt(family, images=2)
    visual = inputs["input_ids"][0] == IMAGE
    calls = LayerCalls.record(flash_model(family), inputs)
    variants = all_kinds(calls, visual)
    found = run_variants(calls, variants)
    model = tiny_model(family)
    for variant, state in zip(variants, found, strict=True):
        torch.testing.assert_close(state[0], separate_run(model, inputs, variant)[-1], atol=1e-5, rtol=1e-4)
    assert calls.parts.flash


@pytest.mark.parametrize("family", ["gemma3", "llava", "qwen3_vl"])
def test_bfloat16_stays_near_the_run_of_its_own(family: str) -> None:
    model, inputs = tiny_model(family).to(torch.bfloat16), tiny_prompt(family)
    inputs["pixel_values"] = inputs["pixel_values"].to(torch.bfloat16)
    visual = inputs["input_ids"][0] == IMAGE
    calls = LayerCalls.record(model, inputs)
    variants = all_kinds(calls, visual)
    for variant, state in zip(variants, run_variants(calls, variants), strict=True):
        reference = separate_run(model, inputs, variant)[-1].float()
        moved = (calls.states[-1][0, -1].float() - reference).norm()
        assert (state[0].float() - reference).norm() < 0.1 * reference.norm()
        assert (state[0].float() - reference).norm() <= moved


def test_only_what_differs_is_computed() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    visual = inputs["input_ids"][0] == IMAGE
    calls = LayerCalls.record(model, inputs)
    last = only(calls.length, calls.length - 1)
    with evaluations(model) as counted:
        run_variants(calls, [{layer: Change(unseen=(last, visual))} for layer in range(LAYERS)])
    assert counted == [1, 2, 3, 4, 5]
    with evaluations(model) as counted:
        run_variants(calls, [{layer + 1: Change(put=(visual, calls.states[layer][0]))} for layer in range(LAYERS)])
    assert counted == [calls.length * variants for variants in (1, 2, 3, 4)]  # nearly all: not worth a mask
    question = ~visual & (visual.cumsum(0) > 0)
    with evaluations(model) as counted:
        run_variants(calls, [{0: Change(put=(question, calls.states[1][0]))}])
    assert counted == [int(question.sum())] * LAYERS


def test_batches_are_bounded() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    calls = LayerCalls.record(model, inputs)
    last = only(calls.length, calls.length - 1)
    with evaluations(model) as counted:
        run_variants(calls, [{0: Change(head_off=(last, head))} for head in range(4)], tokens=3 * calls.length + 1)
    assert counted == [3, 1] * LAYERS


def test_two_prompts_are_refused() -> None:
    inputs = {name: torch.cat([value, value]) for name, value in tiny_prompt("llava").items()}
    with pytest.raises(DataError, match="one prompt is recorded at a time; got a batch of 2"):
        LayerCalls.record(tiny_model("llava"), inputs)


def test_flash_attention_beyond_the_window_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    use_flash(monkeypatch)
    model = flash_model("gemma3")
    config: Any = model.config.get_text_config()
    config.sliding_window = 10
    with pytest.raises(UnsupportedError, match="a window of 10 and FlashAttention; load the model with attn_impl"):
        LayerCalls.record(model, tiny_prompt("gemma3"))
