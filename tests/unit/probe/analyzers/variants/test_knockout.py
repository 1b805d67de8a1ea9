"""Knock-outs against whole runs with edited masks."""

import numpy as np
import pytest
import torch

from halfv_core.errors import DataError
from probe.analyzers.findings import LayerSeries
from probe.analyzers.variants.knockout import PAIRS, Knockout, window_of
from probe.capture.changes import Change
from probe.capture.prompt_run import PromptRun
from tests.separate_run import changes, separate_scores
from tests.tiny import LAYERS, tiny_model, tiny_prompt
from tests.unit.probe.analyzers.variants.prompts import FAMILIES, measured, prompt_of


@FAMILIES
def test_changes_equal_those_of_separate_runs(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "probe.analyzers.variants.knockout.window_of", lambda at, n: range(max(0, at - 1), min(n, at + 2))
    )
    prompt = prompt_of(family)
    item = measured("knockout", prompt.run)
    ends = {
        "image -> last": (prompt.last, prompt.visual),
        "image -> question": (prompt.question, prompt.visual),
        "question -> last": (prompt.last, prompt.question),
        "last -> last": (prompt.last, prompt.last),
    }
    windows = [(0, 1), (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4)]
    for pair, unseen in ends.items():
        variants = [dict.fromkeys(window, Change(unseen=unseen)) for window in windows]
        expected = changes(separate_scores(prompt.model, prompt.inputs, variants))
        assert item[pair] == pytest.approx(expected, abs=1e-5)
        assert max(map(abs, expected[:3])) > 1e-3


def test_the_last_layer_takes_nothing_to_the_answer_through_the_question() -> None:
    item = measured("knockout", prompt_of("llava").run)  # of 5 layers, a window is one layer
    assert item["image -> question"][-1] == pytest.approx(0.0, abs=1e-6)
    assert abs(item["image -> last"][-1]) > 1e-3


@pytest.mark.parametrize(("layers", "width"), [(5, 1), (12, 3), (24, 7), (28, 7), (32, 9), (40, 11), (80, 23)])
def test_windows_scale_with_the_depth(layers: int, width: int) -> None:
    middle = window_of(layers // 2, layers)
    assert len(middle) == width
    assert middle[width // 2] == layers // 2
    assert window_of(0, layers) == range(width // 2 + 1)
    assert window_of(layers - 1, layers)[-1] == layers - 1


def test_findings_are_in_percent_and_in_nats() -> None:
    items = {
        str(index): {pair: [float(np.log(share)), 0.0] for pair in PAIRS} for index, share in enumerate((0.5, 0.9))
    }
    found = {finding.name: finding for finding in Knockout().combine(items)}
    assert set(found) == {f"{pair}_{unit}" for pair in ("image_last", "image_question", "question_last", "last_last")
                          for unit in ("percent", "nats")}  # fmt: skip
    percent, nats = found["image_last_percent"], found["image_last_nats"]
    assert isinstance(percent, LayerSeries)
    assert isinstance(nats, LayerSeries)
    assert percent.mean == pytest.approx((-30.0, 0.0))
    assert percent.low[0] == pytest.approx(-50.0)
    assert nats.mean == pytest.approx((np.log(0.45) / 2, 0.0))


@torch.no_grad()
def test_a_prompt_that_ends_in_its_image_is_refused() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava", after=0)
    with pytest.raises(DataError, match="an image followed by text; got a prompt that ends in an image"):
        measured("knockout", PromptRun(model, inputs))
    assert LAYERS == 5
