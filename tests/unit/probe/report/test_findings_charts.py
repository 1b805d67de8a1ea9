"""Charts of findings: one for each kind, with all of its numbers, and none for a probe by its name."""

import json

import numpy as np
import pytest

from probe.analysis.records import ProbeResult
from probe.analyzers.findings import (
    AnyFinding,
    Bars,
    HeadMap,
    SampleTable,
    ScatterPoints,
    StateMatrix,
    TokenMap,
    layer_series,
)
from probe.report.findings import Depth, FindingChart, charts_of
from probe.report.findings.points import CELLS
from tests.profiles import qwen_like

DEPTH = Depth(4, None)
STAGED = Depth(28, qwen_like().stages)


def charts(*findings: AnyFinding, depth: Depth = DEPTH) -> list[FindingChart]:
    return charts_of(ProbeResult(name="p", title="P", question="?", findings=findings), depth, ("a", "b", "c"))


def curve(name: str, group: str = "", title: str = "T", layers: int = 4, **changed: object) -> AnyFinding:
    rows = np.linspace(1, 2, 3 * layers).reshape(3, layers)
    return layer_series(name, rows, axis="layers", title=title, group=group).model_copy(update=changed)


def test_series_share_a_chart_if_they_share_title_unit_and_axis() -> None:
    found = charts(
        curve("a", "visual"), curve("b", "x"), curve("c", title="U"), curve("d", unit="nats"), curve("e", "y")
    )
    assert [(chart.name, chart.title) for chart in found] == [("a", "T"), ("c", "U"), ("d", "T")]
    lines = [trace for trace in found[0].figure.data if trace.mode == "lines+markers"]
    assert [line.name for line in lines] == ["visual", "x", "y"]
    assert len({(line.line.color, line.line.dash) for line in lines}) == 3
    table = found[0].table
    assert table is not None and len(table.rows) == 4
    assert table.columns[:4] == ("layer", "visual mean", "visual from", "visual to") and len(table.columns) == 10
    assert "visual: highest" in found[0].summary


def test_many_series_look_different() -> None:
    (chart,) = charts(*(curve(f"s{number}", f"group {number}") for number in range(18)))
    lines = [trace for trace in chart.figure.data if trace.mode == "lines+markers"]
    assert len({(line.line.color, line.line.dash) for line in lines}) == 18


def test_a_curve_over_several_powers_of_ten_has_a_logarithmic_view() -> None:
    wide = layer_series("w", [[1e-4, 1.0]], axis="layers", title="W")
    flat = layer_series("f", [[0.0, 1.0]], axis="layers", title="F")
    menus = [chart.figure.layout.updatemenus for chart in charts(wide, flat, depth=Depth(2, None))]
    assert [len(menu) for menu in menus] == [1, 0]
    assert menus[0][0].buttons[1].args[1]["yaxis.type"] == "log"


def test_stages_are_behind_what_is_over_layers() -> None:
    heads = HeadMap(name="h", title="H", mean=((0.1, 0.2),) * 28)
    matrix = StateMatrix(name="m", title="M", mean=((1.0,) * 29,) * 29)
    table = SampleTable(name="s", title="S", axis="layers", values=((0.5,) * 28,) * 3)
    for chart in charts(curve("a", layers=28), heads, matrix, table, depth=STAGED):
        assert [note.name for note in chart.figure.layout.annotations] == ["I", "II", "III"]
        spans = [shape for shape in chart.figure.layout.shapes if shape.type == "rect"]
        assert [(shape.x0, shape.x1) for shape in spans][1] == (1.5, 20.5)


def test_heads_can_be_sorted_in_layers_and_layers_by_their_largest_head() -> None:
    mean = ((0.1, 0.4, 0.2), (0.9, 0.0, 0.3), (0.5, 0.6, 0.7), (0.0, 0.1, 0.0))
    (chart,) = charts(HeadMap(name="h", title="H", mean=mean))
    assert list(chart.figure.data[0].z[0]) == [0.1, 0.9, 0.5, 0.0]
    by_head, by_size, by_layer = (button.args for button in chart.figure.layout.updatemenus[0].buttons)
    assert by_head[0]["z"][0] == np.array(mean).T.tolist()
    assert by_size[0]["z"][0] == np.sort(np.array(mean), axis=1).T.tolist()
    assert by_layer[0]["z"][0][-1] == [0.9, 0.7, 0.4, 0.1]
    assert [where[0] for where in by_layer[0]["customdata"][0][-1]] == [1, 2, 0, 3]
    assert by_layer[1]["xaxis.ticktext"] == ["1", "2", "0", "3"]
    for button in (by_head, by_size, by_layer):
        for row, places in zip(button[0]["z"][0], button[0]["customdata"][0], strict=True):
            assert row == [mean[layer][head] for layer, head in places]
    assert chart.summary == "4 layers of 3 heads; the largest is head 0 of layer 1, 0.9."
    assert chart.table is not None and chart.table.rows[1] == (1, 0.9, 0.0, 0.3)


def test_values_of_both_signs_have_a_scale_around_zero() -> None:
    (chart,) = charts(HeadMap(name="h", title="H", mean=((-0.5, 2.0),) * 4))
    assert (chart.figure.data[0].zmin, chart.figure.data[0].zmax) == (-2.0, 2.0)


def test_matrices_of_several_groups_share_a_chart_and_its_colours() -> None:
    first, second = (
        StateMatrix(name=group, title="M", group=group, mean=((1.0, low), (low, 1.0)))
        for group, low in (("visual", 0.5), ("text", 0.1))
    )
    (chart,) = charts(first, second, depth=Depth(1, None))
    assert chart.figure.data[0].zmin == 0.1
    assert [button.label for button in chart.figure.layout.updatemenus[0].buttons] == ["visual", "text"]
    assert chart.table is not None
    assert chart.table.columns == ("group", "input of layer", "0", "1") and len(chart.table.rows) == 4


def test_bars_have_intervals_and_long_names_several_lines() -> None:
    name = "all heads of the first ten layers are left out"
    found = Bars(
        name="b", title="B", unit="%", conditions=(name, ""), mean=(1, -2), low=(0, -3), high=(3, -1), samples=9
    )
    (chart,) = charts(found)
    bar = chart.figure.data[0]
    assert list(bar.error_x.array) == [2, 1] and list(bar.error_x.arrayminus) == [1, 1]
    labels = chart.figure.layout.yaxis.ticktext
    assert labels[0].count("<br>") == 2 and labels[0].replace("<br>", " ") == name
    assert chart.table is not None and chart.table.rows[0] == (name, 1, 0, 3)


@pytest.mark.parametrize(
    ("values", "centres"), [((1, 3, 3), [1, 2, 3]), ((0.5, 0.5, 0.5), [0.5]), ((0.0, 0.1, 1.0), None)]
)
def test_a_histogram_counts_every_sample_once(values: tuple[float, ...], centres: list[float] | None) -> None:
    (chart,) = charts(SampleTable(name="s", title="S", values=tuple((value,) for value in values)))
    bar = chart.figure.data[0]
    assert sum(bar.y) == 3
    assert centres is None or list(bar.x) == centres
    assert chart.table is not None and chart.table.rows == (("a", values[0]), ("b", values[1]), ("c", values[2]))


def test_a_table_over_layers_is_drawn_as_quantiles_and_single_samples() -> None:
    values = ((0.0, 1.0, 0.5, 0.0), (1.0, 1.0, 0.0, 0.0), (0.5, 1.0, 1.0, 0.0))
    (chart,) = charts(SampleTable(name="s", title="S", axis="layers", values=values))
    median = next(trace for trace in chart.figure.data if trace.name == "median")
    assert list(median.y) == [0.5, 1.0, 0.5, 0.0]
    lines = chart.figure.data[-1]
    assert lines.visible == "legendonly" and [y for y in lines.y if y is not None] == list(sum(values, ()))
    assert chart.table is not None and chart.table.rows[0] == (0, 0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def test_points_show_one_layer_and_lose_only_what_lies_on_another() -> None:
    draw = np.random.default_rng(0)
    dense = draw.normal(0, 1e-3, (5000, 2)).tolist()
    x, y = zip(*dense, (5.0, 5.0), (-5.0, 5.0), strict=True)
    found = ScatterPoints(
        name="p", title="P", x_title="x", y_title="y", layers=(1,) * 5001 + (3,), x=x, y=y, labels=("l",) * 5002
    )
    (chart,) = charts(found)
    first, second = chart.figure.data
    assert (first.visible, second.visible) == (False, True)
    assert 5.0 in first.x and len(first.x) < CELLS and list(second.x) == [-5.0]
    steps = chart.figure.layout.sliders[0].steps
    assert [step.label for step in steps] == ["1", "3"]
    assert [step.args[0]["visible"] for step in steps] == [[True, False], [False, True]]


def test_what_is_on_images_has_no_chart_here() -> None:
    assert charts(TokenMap(name="m", title="M", example="a", axis="layers", values=((0.1,),) * 4)) == []


def test_text_of_findings_is_escaped_for_plotly() -> None:
    attack = "<a href='https://example.org'>x</a>%{y}"
    found = charts(
        curve("a", attack, title=attack, unit=attack),
        HeadMap(name="h", title=attack, unit=attack, mean=((0.1, 0.2),) * 4),
        Bars(name="b", title=attack, conditions=(attack,), mean=(1,), low=(1,), high=(1,), samples=1, unit=attack),
        SampleTable(name="s", title=attack, values=((1.0,), (2.0,), (3.0,)), unit=attack),
        ScatterPoints(
            name="p", title=attack, x_title=attack, y_title=attack, layers=(0,), x=(1,), y=(1,), labels=(attack,)
        ),
        StateMatrix(name="m", title=attack, unit=attack, group=attack, mean=((1.0,) * 5,) * 5),
    )
    assert len(found) == 6
    for chart in found:
        text = json.dumps(json.loads(chart.figure.to_json()))
        assert "<a" not in text and "%{y}</a>" not in text and "example.org'>x</a>%{y" not in text
