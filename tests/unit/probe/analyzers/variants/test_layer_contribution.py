"""Contributions of single layers against the KL curve and whole runs."""

import pytest
import torch

from probe.analyzers.layer_redundancy import layer_redundancy
from probe.capture.changes import Change
from probe.capture.layer_calls import LayerCalls
from tests.separate_run import divergences, separate_scores
from tests.tiny import LAYERS
from tests.unit.probe.analyzers.variants.prompts import FAMILIES, measured, prompt_of


@FAMILIES
@torch.no_grad()
def test_divergences_equal_those_of_separate_runs(family: str) -> None:
    prompt = prompt_of(family)
    item = measured("layer_contribution", prompt.run)
    curve = layer_redundancy(prompt.model, prompt.inputs)
    assert item["freeze visual"] == pytest.approx(curve.tolist(), abs=1e-9)
    assert item["freeze visual"][-1] == 0.0
    hidden = [{layer: Change(unseen=(prompt.after, prompt.visual))} for layer in range(LAYERS)]
    expected = divergences(separate_scores(prompt.model, prompt.inputs, hidden))
    assert item["hide visual"] == pytest.approx(expected, abs=1e-5)
    states = LayerCalls.record(prompt.model, prompt.inputs).states
    frozen = [{layer + 1: Change(put=(~prompt.visual, states[layer][0]))} for layer in range(LAYERS)]
    expected = divergences(separate_scores(prompt.model, prompt.inputs, frozen))
    assert item["freeze text"] == pytest.approx(expected, abs=1e-5)
    assert min(item["freeze text"]) > 1e-3
