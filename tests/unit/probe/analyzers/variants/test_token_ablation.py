"""Visual tokens that are replaced or hidden, against whole runs."""

import pytest
import torch

from probe.analyzers.findings import Bars, SampleTable
from probe.analyzers.variants.token_ablation import SETS, TokenAblation, hidden, registers, replaced, token_sets
from probe.capture.changes import Change
from probe.capture.layer_calls import LayerCalls
from tests.separate_run import separate_run
from tests.tiny import LAYERS
from tests.unit.probe.analyzers.variants.prompts import measured, prompt_of


def test_registers_stand_out_by_their_norm() -> None:
    states = torch.ones(20, 4)
    states[[3, 11]] = 7.0
    assert registers(states).tolist() == [3, 11]
    assert registers(torch.ones(20, 4)).tolist() == []
    assert registers((100 * states).to(torch.float16)).tolist() == [3, 11]


def test_sets() -> None:
    states = torch.ones(20, 4)
    states[[3, 11]] = 7.0
    found = dict(zip(SETS, token_sets(states, torch.arange(20.0), torch.arange(20.0).roll(5)), strict=True))
    assert found["registers"].tolist() == [3, 11]
    assert found["top 10 %"].tolist() == [19, 18]
    assert found["bottom 10 %"].tolist() == [1, 0]
    assert found["top 10 % by gradient"].tolist() == [4, 3]
    assert len(found["random, as many"]) == len(found["random 10 %"]) == 2
    assert sorted(found["all"].tolist()) == list(range(20))
    assert [len(some) for some in token_sets(torch.ones(20, 4), torch.arange(20.0))] == [0, 0, 2, 2, 0, 2, 20]


@pytest.mark.parametrize("family", ["gemma3", "llava", "mistral3"])
@torch.no_grad()
def test_they_equal_whole_runs(family: str) -> None:
    prompt = prompt_of(family)
    calls = LayerCalls.record(prompt.model, prompt.inputs)
    places = prompt.visual.nonzero()[:, 0]
    for some in (torch.tensor([2, 17, 30]), torch.arange(32)):
        gone = torch.zeros_like(prompt.visual)
        gone[places[some]] = True
        mean = calls.states[0][0, prompt.visual].mean(0).expand_as(calls.states[0][0])
        reference = separate_run(prompt.model, prompt.inputs, {0: Change(put=(gone, mean))})[-1:]
        torch.testing.assert_close(replaced(calls, prompt.visual, some), reference, atol=1e-5, rtol=1e-4)
        change = Change(unseen=(~gone, gone))
        reference = separate_run(prompt.model, prompt.inputs, dict.fromkeys(range(LAYERS), change))[-1:]
        torch.testing.assert_close(hidden(calls, prompt.visual, some), reference, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_features_that_are_added_later_are_replaced_too() -> None:
    prompt = prompt_of("qwen3_vl")
    calls = LayerCalls.record(prompt.model, prompt.inputs)
    some = torch.tensor([2, 17, 30])
    gone = torch.zeros_like(prompt.visual)
    gone[prompt.visual.nonzero()[some, 0]] = True

    def mean_there(states: torch.Tensor) -> torch.Tensor:
        return torch.where(gone[:, None], states[0, prompt.visual].mean(0), states[0])

    found = replaced(calls, prompt.visual, some)
    add = iter([mean_there(features) for features in calls.features])
    calls.parts.decoder._deepstack_process = lambda hidden, *_: hidden + next(add)
    reference = separate_run(prompt.model, prompt.inputs, {0: Change(put=(gone, mean_there(calls.states[0])))})
    torch.testing.assert_close(found, reference[-1:], atol=1e-5, rtol=1e-4)


def test_a_sample_without_registers_says_nothing_about_them() -> None:
    item = measured("token_ablation", prompt_of("gemma3").run)
    assert item["registers"] == 2 / 32
    assert len({round(change, 6) for name in ("mean", "hidden") for change in item[name]["change"]}) >= 8
    bare = {"same": [None, None, *[True] * 4, False], "change": [None, None, *[0.0] * 4, -2.0]}
    none = {"registers": 0.0, "mean": bare, "hidden": bare}
    found = {finding.name: finding for finding in TokenAblation().combine({"a": none, "b": none})}
    bars, shares = found["mean_kept"], found["register_share"]
    assert isinstance(bars, Bars)
    assert isinstance(shares, SampleTable)
    assert bars.conditions == SETS[2:]
    assert bars.mean == (1.0, 1.0, 1.0, 1.0, 0.0)
    assert shares.values == ((0.0,), (0.0,))
    both = {finding.name: finding for finding in TokenAblation().combine({"a": none, "b": item})}["hidden_change"]
    assert isinstance(both, Bars)
    assert both.conditions == SETS
    assert both.mean[0] == pytest.approx(item["hidden"]["change"][0])
    assert both.mean[-1] == pytest.approx((item["hidden"]["change"][-1] - 2.0) / 2)
