"""Dropping all visual tokens against whole runs, and where a sample could drop them."""

import math

import numpy as np
import pytest
import torch

from probe.analyzers.findings import SampleTable
from probe.analyzers.variants.drop_from import DropFrom, earliest_exit
from probe.analyzers.withdrawal import withdrawal
from probe.capture.changes import Change
from tests.separate_run import changes, separate_scores
from tests.tiny import LAYERS
from tests.unit.probe.analyzers.variants.prompts import FAMILIES, measured, prompt_of


@FAMILIES
@torch.no_grad()
def test_curves_equal_the_withdrawal_and_separate_runs(family: str) -> None:
    prompt = prompt_of(family)
    item = measured("drop_from", prompt.run)
    assert item["divergence"] == pytest.approx(withdrawal(prompt.model, prompt.inputs).tolist(), abs=1e-9)
    # What other visual tokens see does not matter if nothing sees them.
    variants = [
        {layer: Change(unseen=(~prompt.visual, prompt.visual)) for layer in range(first, LAYERS)}
        for first in range(LAYERS)
    ]
    scores = separate_scores(prompt.model, prompt.inputs, variants)
    assert item["change"] == pytest.approx(changes(scores), abs=1e-5)
    assert item["same"] == (scores[1:].argmax(1) == scores[0].argmax()).tolist()
    assert item["full"] == pytest.approx(float(scores[0].max()), abs=1e-5)


@pytest.mark.parametrize(
    ("harmless", "layer"), [([True, True], 0), ([False, True, True], 1), ([True, False, True], 2), ([True, False], 2)]
)
def test_the_earliest_exit_is_behind_the_last_failure(harmless: list[bool], layer: int) -> None:
    assert earliest_exit(harmless) == layer


def test_exits_by_both_rules() -> None:
    """The loss of a certain model doubles although its probability falls by a ten-thousandth."""
    full = math.log(0.9999)
    half = {"full": full, "change": [math.log(0.5), math.log(0.9998) - full, 0.0], "same": [True, True, True]}
    lost = {"full": math.log(0.5), "change": [0.0, math.log(0.99), math.log(0.98)], "same": [True, True, False]}
    items = {name: {**item, "divergence": [0.0] * 3} for name, item in (("half", half), ("lost", lost))}
    found = {finding.name: finding for finding in DropFrom().combine(items)}
    published, probability = found["exit_published"], found["exit_probability"]
    assert isinstance(published, SampleTable)
    assert isinstance(probability, SampleTable)
    assert published.values == ((2.0,), (3.0,))
    assert probability.values == ((1.0,), (3.0,))
    assert np.allclose(found["change"].mean, np.mean([half["change"], lost["change"]], axis=0))
