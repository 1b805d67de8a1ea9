"""Gains of selectors over chance."""

import pytest
import torch

from halfv_core import Keep, Plan, apply
from probe.analyzers.findings import Bars
from probe.analyzers.variants import selector_horizon as module
from probe.analyzers.variants.selector_horizon import SelectorHorizon, tried_layers
from probe.trials.answers import read_answer
from tests.unit.probe.analyzers.variants.prompts import measured, prompt_of


def test_tried_layers() -> None:
    assert tried_layers(5) == (1, 2, 3, 4)
    assert tried_layers(12) == (1, 3, 5, 7, 9, 11)
    assert tried_layers(32) == (1, 7, 13, 19, 25, 31)


def test_gains_equal_whole_runs_under_the_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "tried_layers", lambda _: (1, 3))
    prompt = prompt_of("llava")
    item = measured("selector_horizon", prompt.run)
    answer = torch.tensor(prompt.run.answer)

    def likelihood(layer: int, selector: str, **options: int) -> float:
        with apply(prompt.model, Plan((Keep(layer=layer, keep_ratio=0.1, selector=selector, options=options),))):
            return read_answer(prompt.model, prompt.inputs, answer).log_likelihood

    for layer, found in zip(item["layers"], item["gains"], strict=True):
        drawn = (likelihood(layer, "random", seed=0) + likelihood(layer, "random", seed=1)) / 2
        names = ("attention", "anchor_coverage", "divprune")
        assert found == pytest.approx([likelihood(layer, name) - drawn for name in names], abs=1e-6)
    assert max(abs(gain) for gains in item["gains"] for gain in gains) > 1e-3


def test_the_horizon_is_the_first_layer_at_which_no_selector_is_better_than_chance() -> None:
    gains = [[[-1.0, 2.0 + index, 0.0], [0.5, 0.0, 0.0], [(-1.0) ** index] * 3, [1.0] * 3] for index in range(8)]
    found = SelectorHorizon().combine(
        {str(index): {"layers": [1, 3, 5, 7], "gains": some} for index, some in enumerate(gains)}
    )
    assert [finding.name for finding in found] == ["attention", "anchor_coverage", "divprune", "horizon"]
    attention, coverage, *_, last = found
    assert isinstance(coverage, Bars)
    assert coverage.conditions == ("layer 1", "layer 3", "layer 5", "layer 7")
    assert coverage.mean == pytest.approx((5.5, 0.0, 0.0, 1.0))
    assert attention.mean == pytest.approx((-1.0, 0.5, 0.0, 1.0))
    assert last.mean == (5.0,)
    always = {name: {"layers": [1, 3], "gains": [[1.0] * 3, [2.0] * 3]} for name in "ab"}
    assert "horizon" not in {finding.name for finding in SelectorHorizon().combine(always)}
