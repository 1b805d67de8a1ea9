"""The contract of every probe: on each family, what it measures survives a file, and what it finds can be drawn."""

import json
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

import probe.analysis.analyze  # noqa: F401 - the probes that it knows are tested here
from probe.analyzers.findings import (
    AnyFinding,
    Bars,
    HeadMap,
    HeadWords,
    LayerSeries,
    SampleTable,
    ScatterPoints,
    StateMatrix,
    TokenMap,
    TokenWords,
    Words,
)
from probe.analyzers.probe import PROBES, Item
from probe.capture.prompt_run import PromptRun
from probe.trials.answers import greedy_answer
from tests.tiny import LAYERS, TINY, tiny_model, tiny_prompt

HEADS = 4
OF_EXAMPLES = (TokenMap, Words, HeadWords, TokenWords, ScatterPoints)
"""Findings that hold something of single samples, of examples only."""

WRITTEN: TypeAdapter[list[AnyFinding]] = TypeAdapter(list[AnyFinding])
"""How findings are written and read."""

each_probe = pytest.mark.parametrize("name", sorted(PROBES))


@cache
def run_of(family: str, prompt: str, dtype: torch.dtype = torch.float32) -> PromptRun:
    """Two images with text around them, or one that begins the prompt; each of a model of its own, to stay valid."""
    model = tiny_model(family).to(dtype)
    inputs = tiny_prompt(family, images=2, seed=1) if prompt == "two" else tiny_prompt(family, before=0, seed=2)
    inputs = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}
    louder = [inputs | {"pixel_values": factor * inputs["pixel_values"]} for factor in (10.0, -10.0, 1000.0)]
    return PromptRun(model, inputs, answer=greedy_answer(model, inputs, 2).tolist(), over_others=lambda: louder)


def measured(name: str, run: PromptRun, *, example: bool = True) -> Item:
    """The probe's item of one prompt, which is a sample as long as its tokens."""
    probe = PROBES[name]()
    looked = run.at_every_layer(partial(probe.look, run=run)) if probe.looks else []
    return probe.measure(run, looked, example=example)


def combined(name: str, items: Mapping[str, Item]) -> list[AnyFinding]:
    return PROBES[name]().combine(items)


@pytest.mark.parametrize("family", sorted(TINY))
@each_probe
def test_findings_of_each_family_can_be_drawn(name: str, family: str) -> None:
    """On one sample and on two, of which only the first is an example."""
    first, second = run_of(family, "two"), run_of(family, "first")
    items = {"a": measured(name, first), "b": measured(name, second, example=False)}
    check(combined(name, {"b": items["b"]}), ["b"], {})
    found = combined(name, items)
    check(found, ["a", "b"], {"a": int(first.visual.sum())})
    read = json.loads(json.dumps(items, allow_nan=False))
    assert combined(name, read) == found
    assert WRITTEN.validate_json(WRITTEN.dump_json(found)) == found


@each_probe
def test_only_maps_depend_on_whether_a_sample_is_an_example(name: str) -> None:
    run = run_of("qwen2_5_vl", "two")
    shown, others = (combined(name, {"a": measured(name, run, example=example)}) for example in (True, False))
    assert [finding for finding in shown if not isinstance(finding, OF_EXAMPLES)] == others


@each_probe
def test_16_bits_are_enough(name: str) -> None:
    """Numbers that are wrong by more than rounding are for each probe's own tests."""
    run = run_of("qwen2_5_vl", "two", torch.bfloat16)
    check(combined(name, {"a": measured(name, run)}), ["a"], {"a": int(run.visual.sum())})


@each_probe
def test_it_says_what_it_is(name: str) -> None:
    """In a heading, in the code and in the documents."""
    probe = PROBES[name]()
    assert probe.title and probe.question.endswith("?")
    assert 0.0 <= probe.passes(32) < 1000
    page = (Path(__file__).parents[2] / "docs" / "probes.md").read_text(encoding="utf-8")
    [section] = [part for part in page.split("\n## ")[1:] if part.splitlines()[0].endswith(f": `{name}`")]
    for point in ("Question", "Formula", "Cost", "How to read it", "When not to trust it"):
        assert f"- **{point}:**" in section, point


def check(found: Sequence[AnyFinding], samples: Sequence[str], visual: Mapping[str, int]) -> None:
    """Check names and shapes; that numbers are finite, the records check themselves.

    Args:
        visual: the number of visual tokens of each example.
    """
    names = [finding.name for finding in found]
    assert len(set(names)) == len(names)
    for finding in found:
        assert finding.title
        if isinstance(finding, LayerSeries):
            assert len(finding.mean) == points(finding.axis)
            assert 1 <= finding.samples <= len(samples)
            check_intervals(finding)
        elif isinstance(finding, Bars):
            assert finding.conditions
            check_intervals(finding)
        elif isinstance(finding, HeadMap):
            assert [len(row) for row in finding.mean] == [HEADS] * LAYERS
        elif isinstance(finding, StateMatrix):
            assert [len(row) for row in finding.mean] == [LAYERS + 1] * (LAYERS + 1)
        elif isinstance(finding, SampleTable):
            assert len(finding.values) == len(samples)
            assert {len(row) for row in finding.values} == {1 if finding.axis is None else points(finding.axis)}
        elif isinstance(finding, ScatterPoints):
            assert len(finding.layers) == len(finding.x) == len(finding.y)
            assert len(finding.labels) in (0, len(finding.x))
            assert set(finding.layers) <= set(range(LAYERS))
        else:
            check_example(finding, visual)


def check_intervals(finding: LayerSeries | Bars) -> None:
    for low, mean, high in zip(finding.low, finding.mean, finding.high, strict=True):
        assert low <= mean <= high


def check_example(finding: Any, visual: Mapping[str, int]) -> None:
    """The finding is of one example."""
    assert finding.example in visual
    if isinstance(finding, HeadWords):
        assert [len(heads) for heads in finding.rows] == [HEADS] * LAYERS
        lists = [words for heads in finding.rows for words in heads]
    elif isinstance(finding, Words):
        assert len(finding.rows) == points(finding.axis)
        lists = list(finding.rows)
    else:
        rows = finding.words if isinstance(finding, TokenWords) else finding.values
        assert [len(row) for row in rows] == [visual[finding.example]] * points(finding.axis)
        lists = []
    for words in lists:
        shares = [share for _, share in words]
        assert shares == sorted(shares, reverse=True) and 0.0 <= shares[-1] <= shares[0] <= 1.0


def points(axis: str) -> int:
    return LAYERS + (axis == "states")
