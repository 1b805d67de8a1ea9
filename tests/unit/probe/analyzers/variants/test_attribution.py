"""Attributions against a gradient through the whole model, and against what small changes do."""

from pathlib import Path

import pytest
import torch
from torch import nn

from halfv_core.families import parts_of
from probe.analyzers.variants.attribution import attribution
from probe.capture.backward import has_gradients
from probe.capture.changes import Change
from probe.capture.layer_calls import LayerCalls
from tests.offloading import OFFLOADED
from tests.separate_run import separate_scores
from tests.tiny import TINY, tiny_model, tiny_prompt
from tests.unit.probe.analyzers.variants.prompts import Prompt, measured, prompt_of


def log_odds(prompt: Prompt, state: torch.Tensor, token: int) -> float:
    """With other states of the visual tokens at the input of layer 0, in a whole run."""
    scores = separate_scores(prompt.model, prompt.inputs, [{0: Change(put=(prompt.visual, state))}])
    return float(scores[1, token] - (-scores[1, token].exp()).log1p())


@pytest.mark.parametrize("family", ["gemma3", "llava", "mistral3", "qwen2_5_vl"])
def test_it_is_the_slope_of_the_log_odds(family: str) -> None:
    """Between two states a little to each side, in float64."""
    prompt = prompt_of(family)
    prompt.model.double()
    prompt.inputs["pixel_values"] = prompt.inputs["pixel_values"].double()
    calls = LayerCalls.record(prompt.model, prompt.inputs)
    token = int(separate_scores(prompt.model, prompt.inputs, [])[0].argmax())
    found = attribution(calls, prompt.visual, token)
    own = calls.states[0][0]
    mean, step = own[prompt.visual].mean(0), 1e-2
    for index in (0, 13, 31):
        place = prompt.visual.nonzero()[index, 0]
        ends = []
        for sign in (1, -1):
            state = own.clone()
            state[place] += sign * step * (own[place] - mean)
            ends.append(log_odds(prompt, state, token))
        assert float(found[index]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.01, abs=1e-4)


@pytest.mark.parametrize("family", sorted(TINY))
def test_it_equals_one_gradient_through_the_whole_model(family: str) -> None:
    """With the features that some models add between layers, where the image enters again."""
    model, inputs = tiny_model(family), tiny_prompt(family, images=2)
    calls = LayerCalls.record(model, inputs)
    visual = inputs["input_ids"][0] == 60
    points: list[torch.Tensor] = []

    def entering(_: nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        points.append(args[0].detach().requires_grad_())
        return (points[0],)

    parts = parts_of(model)
    handle = parts.layers[0].register_forward_pre_hook(entering)
    if calls.features:
        features = [one.clone().requires_grad_() for one in calls.features]
        add = iter(features)
        parts.decoder._deepstack_process = lambda hidden, *_: hidden + next(add)
    logits = model(**inputs, use_cache=False).logits[0, -1].double()
    handle.remove()
    token = int(logits.argmax())
    odds = logits[token] - torch.cat([logits[:token], logits[token + 1 :]]).logsumexp(0)
    entries = [points[0], *(features if calls.features else [])]
    slopes = torch.autograd.grad(odds, entries)
    expected = torch.zeros(int(visual.sum()))
    for states, slope in zip(entries, slopes, strict=True):
        own = states[0, visual].detach()
        expected += ((own - own.mean(0)) * slope[0, visual]).sum(-1)
    torch.testing.assert_close(attribution(calls, visual, token), expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("how", sorted(OFFLOADED))
def test_an_offloaded_model_gives_the_same(how: str, tmp_path: Path) -> None:
    model, inputs = tiny_model("qwen2_5_vl"), tiny_prompt("qwen2_5_vl")
    visual = inputs["input_ids"][0] == 60
    expected = attribution(LayerCalls.record(model, inputs), visual, 5)
    offloaded = OFFLOADED[how](model, tmp_path)
    calls = LayerCalls.record(offloaded, inputs)
    assert has_gradients(calls.parts)
    assert torch.equal(attribution(calls, visual, 5), expected)


def test_no_gradient_is_left_on_the_weights_and_none_is_taken_of_quantised_ones() -> None:
    prompt = prompt_of("llava")
    both = measured("token_ablation", prompt.run)
    assert both["mean"]["change"][4] is not None
    assert all(weight.grad is None for weight in prompt.model.parameters())
    prompt.run.parts.layers[2].self_attn.register_buffer("qweight", torch.zeros(2, dtype=torch.int32))
    assert not has_gradients(prompt.run.parts)
    without = measured("token_ablation", prompt.run)
    for treatment in ("mean", "hidden"):
        assert without[treatment]["change"][4] is None
        assert without[treatment]["change"][:4] == both[treatment]["change"][:4]
