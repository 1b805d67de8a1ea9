"""Restored states against whole runs in which states are put twice."""

import numpy as np
import pytest
import torch

from probe.analyzers.findings import Bars, LayerSeries
from probe.analyzers.variants.patching import Patching, shuffled
from probe.capture.changes import Change
from probe.capture.layer_calls import LayerCalls
from tests.separate_run import separate_scores
from tests.tiny import LAYERS
from tests.unit.probe.analyzers.variants.prompts import measured, prompt_of


def test_every_channel_keeps_its_values() -> None:
    states = torch.randn(40, 6, generator=torch.Generator().manual_seed(3))
    found = shuffled(states)
    assert torch.equal(found.sort(0).values, states.sort(0).values)
    moved = [(found[:, [channel]] == states[:, channel]).float().argmax(1) for channel in range(6)]
    assert not torch.equal(moved[0], moved[1])
    assert torch.equal(shuffled(states), found)


@pytest.mark.parametrize("family", ["gemma3", "llava", "mistral3"])
@torch.no_grad()
def test_log_odds_equal_those_of_separate_runs(family: str) -> None:
    prompt = prompt_of(family)
    item = measured("patching", prompt.run)
    clean = [state[0] for state in LayerCalls.record(prompt.model, prompt.inputs).states]
    corrupt = clean[0].clone()
    corrupt[prompt.visual] = shuffled(clean[0][prompt.visual])
    destroyed = {0: Change(put=(prompt.visual, corrupt))}
    variants = [destroyed]
    for rows in (prompt.visual, prompt.question, prompt.last):
        restored = {layer: Change(put=(rows, clean[layer])) for layer in range(1, LAYERS + 1)}
        variants += [{} if rows is prompt.visual else destroyed]  # text has seen nothing yet at layer 0
        variants += [destroyed | {layer: change} for layer, change in restored.items()]
    scores = separate_scores(prompt.model, prompt.inputs, variants)
    token = int(scores[0].argmax())
    odds = [float(row[token] - (-row[token].exp()).log1p()) for row in scores]
    assert [item["full"], item["corrupt"]] == pytest.approx(odds[:2], abs=1e-4)
    assert [*item["visual"], *item["question"], *item["last"]] == pytest.approx(odds[2:], abs=1e-4)
    assert [item["visual"][0], item["last"][-1]] == pytest.approx([item["full"]] * 2, abs=1e-5)
    assert len({round(value, 5) for value in item["question"]}) >= LAYERS


def test_shares_are_of_sums_over_samples() -> None:
    items = {
        "much": {"full": 4.0, "corrupt": 0.0, "visual": [4.0, 1.0], "question": [0.0, 2.0], "last": [0.0, 4.0]},
        "none": {"full": 1.0, "corrupt": 0.9, "visual": [1.0, 1.5], "question": [0.9, 0.9], "last": [0.9, 1.0]},
    }
    found = {finding.name: finding for finding in Patching().combine(items)}
    visual = found["recovered_visual"]
    assert isinstance(visual, LayerSeries)
    assert visual.mean == pytest.approx((1.0, 1.6 / 4.1))
    assert (visual.low[1], visual.high[1]) == pytest.approx((0.25, 6.0))  # of either sample alone
    odds = found["log_odds"]
    assert isinstance(odds, Bars)
    assert odds.mean == pytest.approx((2.5, 0.45))


def test_shares_are_left_out_if_the_image_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    items = {
        str(index): {"full": 1.0, "corrupt": 1.0 + rng.normal(), "visual": [1.0], "question": [1.0], "last": [1.0]}
        for index in range(20)
    }
    assert [finding.name for finding in Patching().combine(items)] == ["log_odds"]
