"""What variants cost, counted in tokens that pass through layers, against a whole run of each."""

import pytest
import torch

from probe.analyzers.probe import PROBES
from probe.analyzers.variants.token_ablation import hidden, replaced
from tests.separate_run import evaluations
from tests.tiny import LAYERS
from tests.unit.probe.analyzers.variants.prompts import measured, prompt_of

HEADS = 4
RUNS = {
    "cache_removal": LAYERS,
    "drop_from": LAYERS,
    "heads": LAYERS * HEADS,
    "knockout": 4 * LAYERS,
    "layer_contribution": 3 * LAYERS,
    "patching": 3 * (LAYERS + 1) + 1,
    "selector_horizon": 5 * (LAYERS - 1),
    "shallow_block": 4,
}
"""Number of separate runs that a probe stands for."""


@pytest.mark.parametrize("name", sorted(RUNS))
def test_at_most_six_tenths_of_separate_runs(name: str) -> None:
    prompt = prompt_of("llava", images=1)
    whole = len(prompt.visual) * LAYERS
    _ = prompt.run.calls, prompt.run.replay  # which all probes share
    with evaluations(prompt.model) as counted:
        measured(name, prompt.run)
    looked = whole if PROBES[name].looks else 0
    assert 0 < sum(counted) - looked <= 0.6 * RUNS[name] * whole


def test_image_patching_adds_a_run_for_each_image_that_is_tried() -> None:
    prompt = prompt_of("llava", images=1)
    whole, others = len(prompt.visual) * LAYERS, [1000.0, -1000.0]
    louder = [prompt.inputs | {"pixel_values": factor * prompt.inputs["pixel_values"]} for factor in others]
    prompt.run.over_others = lambda: louder
    _ = prompt.run.calls
    with evaluations(prompt.model) as counted:
        item = measured("image_patching", prompt.run)
    tried = counted.count(len(prompt.visual)) // LAYERS
    assert item["outcome"] == 0 and 1 <= tried <= 2
    assert sum(counted) - tried * whole <= 0.6 * 3 * (LAYERS + 1) * whole


def test_token_ablation_begins_at_layer_0_and_runs_only_what_is_left() -> None:
    prompt = prompt_of("llava", images=1)
    length, calls = len(prompt.visual), prompt.run.calls
    with evaluations(prompt.model) as counted:
        hidden(calls, prompt.visual, torch.arange(16))
        hidden(calls, prompt.visual, torch.arange(0, 16, 2))
        replaced(calls, prompt.visual, torch.arange(4))
    assert counted == [6] * LAYERS + [6 + 8] * LAYERS + [length] * LAYERS


def test_every_probe_states_a_cost() -> None:
    for name in (*RUNS, "image_patching", "token_ablation"):
        passes = [PROBES[name]().passes(layers) for layers in (12, 32)]
        assert 0.0 < passes[0] < 32
        assert passes[0] <= passes[1] < 40
