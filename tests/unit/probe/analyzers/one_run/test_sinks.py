"""Sinks, their attention and their values, against loops and scipy, and on a run with planted ones."""

from typing import Any

import pytest
import torch
from scipy.stats import spearmanr

from probe.analyzers.findings import Bars, LayerSeries, ScatterPoints
from probe.analyzers.one_run.sinks import (
    MOST_POINTS,
    POINTS,
    Sinks,
    rank_correlation,
    relative_values,
    shown_layers,
    shown_tokens,
)
from probe.capture.hidden_states import Capture
from probe.capture.prompt_run import PromptRun
from tests.tiny import LAYERS, tiny_model, tiny_prompt


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_values_are_measured_in_medians_whatever_their_scale() -> None:
    values = noise(2, 5, 3)
    lengths = [sum(abs(value) for head in values[:, token].tolist() for value in head) for token in range(5)]
    expected = torch.tensor(lengths) / sorted(lengths)[2]
    torch.testing.assert_close(relative_values(values), expected)
    torch.testing.assert_close(relative_values(values * 1000), expected)
    assert relative_values(torch.zeros(2, 3, 4)).tolist() == [1.0] * 3


def test_the_correlation_is_spearmans() -> None:
    x, y = noise(40), noise(40, seed=1)
    y[:10] = y[0]  # ties
    assert rank_correlation(x, y) == pytest.approx(spearmanr(x, y).statistic)
    assert rank_correlation(x, -x.exp()) == pytest.approx(-1.0)
    assert rank_correlation(x, torch.ones(40)) == rank_correlation(x[:1], y[:1]) == 0.0


@pytest.mark.parametrize("tokens", [1, POINTS - 1, POINTS, POINTS + 1, 576, 5000])
def test_the_most_attended_tokens_are_shown_and_others_evenly(tokens: int) -> None:
    attention = noise(tokens).abs()
    shown = shown_tokens(attention)
    assert shown == sorted(set(shown))
    assert min(tokens, POINTS // 2) <= len(shown) <= POINTS
    assert set(attention.topk(min(tokens, POINTS // 3)).indices.tolist()) <= set(shown)
    if tokens > POINTS:
        gaps = torch.tensor([0, *shown, tokens - 1]).diff()
        assert gaps.max() <= 3 * tokens / (2 * POINTS / 3)
    else:
        assert shown == list(range(tokens)) or tokens == POINTS - 1


@pytest.mark.parametrize(("layers", "shown"), [(5, [1]), (12, [1, 2, 4]), (28, [1, 5, 9]), (32, [1, 6, 10]), (1, [1])])
def test_layers_of_the_first_third_are_shown(layers: int, shown: list[int]) -> None:
    assert shown_layers(layers) == shown


def run_with_sinks() -> PromptRun:
    """Visual tokens 3 and 9 are sinks from layer 2 on, in the states that are read after the run."""
    run = PromptRun(tiny_model("llava"), tiny_prompt("llava"))
    states, visual = run.states.clone(), run.visual.nonzero()[:, 0]
    states[:, 0, [9, 20]] = 9000.0
    states[2:, visual[[3, 9]], 20] = 8000.0
    run.__dict__["_raw"] = Capture(states, run.visual)
    return run


def measured(run: PromptRun, *, example: bool) -> Any:
    probe = Sinks()
    looked = run.at_every_layer(lambda layer, view: probe.look(layer, view, run))
    return probe.measure(run, looked, example=example)


def test_findings_count_sinks_and_add_up_their_attention() -> None:
    run = run_with_sinks()
    model = tiny_model("llava", kernel="eager")
    with torch.no_grad():
        attentions = model(**run.inputs, output_attentions=True).attentions
    visual = run.visual.nonzero()[:, 0]
    received = torch.stack([weights[0, :, -1, visual[[3, 9]]].mean(0).sum() for weights in attentions])
    received[:2] = 0.0
    count, share, correlation, channels, points = Sinks().combine({"a": measured(run, example=True)})
    assert isinstance(count, LayerSeries) and isinstance(channels, Bars) and isinstance(points, ScatterPoints)
    assert count.mean == (0, 0, 2, 2, 2)
    assert share.mean == pytest.approx(received.tolist(), rel=1e-4)
    assert all(-1 <= value <= 1 for value in correlation.mean)
    assert channels.conditions in (("channel 9", "channel 20"), ("channel 20", "channel 9"))
    assert all(value > 1000 for value in channels.mean)
    assert set(points.layers) == {1} and len(points.x) == len(visual)
    assert points.labels[3] == "a, token 3"
    own = torch.stack([weights[0, :, -1, visual].mean(0) for weights in attentions])
    assert points.x == pytest.approx(own[1].tolist(), rel=1e-3)


def test_sinks_are_named_among_the_points() -> None:
    run = run_with_sinks()
    item = measured(run, example=True)
    item["points"][0]["sinks"][3] = 1
    points = Sinks().combine({"a": item})[-1]
    assert isinstance(points, ScatterPoints)
    assert [label for label in points.labels if label.endswith("a sink")] == ["a, token 3, a sink"]


def test_many_examples_show_no_more_points_than_a_page_can_draw() -> None:
    item = measured(run_with_sinks(), example=True)
    item["points"] = item["points"] * 20
    points = Sinks().combine({f"s{index}": item for index in range(40)})[-1]
    assert isinstance(points, ScatterPoints)
    assert MOST_POINTS - 20 * 16 < len(points.x) <= MOST_POINTS


def test_channels_of_prompts_that_begin_differently_are_listed_by_how_many_name_them() -> None:
    item = measured(run_with_sinks(), example=False)
    other = item | {"channels": {"4": 5.0, "20": 2.0}}
    channels = Sinks().combine({"a": item, "b": item, "c": other})[3]
    assert isinstance(channels, Bars)
    assert channels.conditions[0] == "channel 20" and set(channels.conditions) == {f"channel {n}" for n in (4, 9, 20)}
    assert channels.mean[channels.conditions.index("channel 4")] == 5.0


def test_states_are_those_before_each_layer() -> None:
    """The output of the last layer, at which every visual token is massive here, is not counted."""
    run = run_with_sinks()
    run.states[-1, run.visual, 20] = 9000.0
    assert measured(run, example=False)["count"] == [0, 0, 2, 2, 2]
    assert len(run.states) == LAYERS + 1
