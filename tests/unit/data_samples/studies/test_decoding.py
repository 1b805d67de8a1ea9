"""The benchmark of decoding: pairs of real requests, and ratios within a round."""

import warnings
from typing import Any

import pytest
import torch
from transformers import CompileConfig

from data_samples.studies import decoding
from data_samples.studies.decoding import Pair, Subject, Times, columns, measure, table_of
from data_samples.studies.tables import read_table
from halfv_core import Keep, Plan
from tests.tiny import tiny_model, tiny_prompt

PLAN = Plan([Keep(layer=1, keep_ratio=0.5)])


def test_every_kind_of_cache_is_measured_in_every_round(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[Any] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(decoding, "CompileConfig", lambda: CompileConfig(backend=backend, mode=None))  # type: ignore[arg-type]
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.compile's own
        pairs = measure(tiny_model("llava"), PLAN, tiny_prompt("llava"), 1, decoding.caches())
    assert list(pairs) == ["dynamic", "static", "static, compiled"]
    assert len(graphs) == 2, "one without the plan and one with it"
    for found in pairs.values():
        assert len(found) == 2
        assert all(0 < times.later < times.first < times.elapsed for pair in found[1:] for times in pair)


def test_ratios_are_of_one_round() -> None:
    times = [(4.0, 2.0), (8.0, 6.0), (2.0, 1.0)]  # without the plan and with it; the first one compiles
    pairs = [Pair(Times(full, full / 2, 9.0), Times(planned, planned / 4, 7.0)) for full, planned in times]
    static = [pair._replace(planned=Times(1.0, 0.5, 3.0)) for pair in pairs]
    subject = Subject("a model", tiny_model("llava"), 32, PLAN, 16, 2)
    rows = [
        line.split(" | ") for line in table_of(columns(subject, 20, {"dynamic": pairs, "static": static})).splitlines()
    ]
    cells = {row[0].strip("| "): [cell.strip("| ") for cell in row[1:]] for row in rows}
    assert cells["cache"] == ["dynamic", "static"]
    assert cells["first request under the plan, wall clock"] == ["7.00 s", "3.00 s"]
    assert cells["rounds"] == ["2", "2"]
    assert cells["**first token ratio** (rounds)"] == ["**1.67x (1.33-2.00)**", "**5.00x (2.00-8.00)**"]
    assert cells["**decode ratio** (rounds)"] == ["**3.33x (2.67-4.00)**", "**5.00x (2.00-8.00)**"]
    assert cells["decode ratio to the full model with a dynamic cache"] == ["3.33x (2.67-4.00)", "5.00x (2.00-8.00)"]


def test_the_page_has_a_place_for_the_table() -> None:
    written = read_table(decoding.COMMAND)
    assert not written or "**decode ratio** (rounds)" in written
