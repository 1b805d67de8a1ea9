"""Heads that are off at the last token, against whole runs."""

import pytest
import torch

from probe.analyzers.findings import HeadMap
from probe.analyzers.variants.heads import Heads
from probe.capture.changes import Change
from tests.separate_run import changes, separate_scores
from tests.tiny import LAYERS
from tests.unit.probe.analyzers.variants.prompts import FAMILIES, measured, prompt_of


@FAMILIES
def test_drops_equal_those_of_separate_runs(family: str) -> None:
    prompt = prompt_of(family)
    item = measured("heads", prompt.run)
    variants = [{layer: Change(head_off=(prompt.last, head))} for layer in range(LAYERS) for head in range(4)]
    expected = -torch.tensor(changes(separate_scores(prompt.model, prompt.inputs, variants))).reshape(LAYERS, 4)
    torch.testing.assert_close(torch.tensor(item), expected, atol=1e-5, rtol=1e-4)
    assert len({round(value, 4) for row in item for value in row}) > 10


def test_the_map_is_the_mean() -> None:
    (found,) = Heads().combine({"a": [[1.0, 0.0], [0.0, 2.0]], "b": [[0.0, 0.0], [1.0, 0.0]]})
    assert isinstance(found, HeadMap)
    assert found.mean == ((0.5, 0.0), (0.5, 1.0))


def test_heads_spread_over_processes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from halfv_core.errors import UnsupportedError

    prompt = prompt_of("llava")
    parts = prompt.run.calls.parts
    prompt.run.__dict__["calls"] = replace(
        prompt.run.calls, parts=replace(parts, ranks=replace(parts.ranks, group=object()))
    )
    with pytest.raises(UnsupportedError, match="run the model in one process"):
        measured("heads", prompt.run)
