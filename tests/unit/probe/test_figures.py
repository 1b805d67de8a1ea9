"""The charts: every number of a profile is in figure and table, nothing crashes them, nothing in them can act."""

import json
import math
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import plotly.graph_objects as go
import plotly.io
import pytest

from halfv_core import HalfVError, Profile
from halfv_core.profile import Curve, Stages
from probe.observations import Observations, SampleCurves
from probe.report.figures import CHARTS, Chart, Subject, draw
from probe.report.figures._style import MODELS, STYLES, names, plain
from probe.report.figures.frontier import unbeaten
from probe.report.figures.treatments import by_treatment
from tests import profiles

SHIPPED = Path(__file__).parents[3] / "data_samples" / "profiles"
HOSTILE = "</script><script>document.title='owned'</script><img src=x onerror=alert(1)>%{x}"


def shipped(name: str) -> Profile:
    return Profile.load(SHIPPED / f"{name}.json")


def observed(profile: Profile) -> Observations:
    curves = profile.curves
    sample = {name: getattr(curves, name).mean for name in ("visual", "text", "joint", "kl")}
    where = profile.provenance
    samples = tuple(SampleCurves(id=id, **sample) for id in (HOSTILE, "second"))
    return Observations(
        config_fingerprint=where.config_fingerprint, created=where.created, samples=samples, examples=()
    )


def two_layers() -> Profile:
    """As small as a profile gets: constant curves, KL all zero, no Stage III, nothing tested."""
    flat, zero = Curve(mean=(0.5,) * 3, std=(0.0,) * 3), Curve(mean=(0.0,) * 2, std=(0.0,) * 2)
    profile = profiles.unsaturated()
    curves = {"visual": flat, "text": flat, "joint": flat, "kl": zero, "spectrum": ((1.0,), (1.0, 0.0), (1.0,))}
    stages = Stages(aggregation_start=1, saturation_start=None, evidence={})
    less = {"curves": profile.curves.model_copy(update=curves), "stages": stages, "pruning_tests": ()}
    return profile.model_copy(update=less)


def hostile() -> Profile:
    """The richest shipped profile with HOSTILE wherever a profile holds free text that charts show."""
    profile = shipped("tiny-llava")
    assert profile.utility is not None
    where = {"model_id": f"org/{HOSTILE}", "seconds_by_step": {HOSTILE: 1.0}}
    utility = profile.utility.model_copy(update={"candidates": {HOSTILE: 2}})
    provenance = profile.provenance.model_copy(update=where)
    return profile.model_copy(update={"provenance": provenance, "utility": utility})


PROFILES: list[Callable[[], Profile]] = [
    profiles.qwen_like,
    profiles.llava_like,
    profiles.unsaturated,
    *(lambda name=path.stem: shipped(name) for path in sorted(SHIPPED.glob("*.json"))),
    two_layers,
    hostile,
]
all_charts = pytest.mark.parametrize("chart", CHARTS.values(), ids=list(CHARTS))


def numbers(value: object) -> set[float]:
    """All numbers in nested lists, tuples and dicts."""
    if isinstance(value, bool):
        return set()
    if isinstance(value, int | float):
        return {float(value)}
    if isinstance(value, dict):
        value = list(value.values())
    return set().union(*map(numbers, value)) if isinstance(value, list | tuple) else set()


def drawn(figure: go.Figure, name: str) -> go.Scatter:
    return next(trace for trace in figure.data if trace.name == name)


@all_charts
def test_a_chart_describes_itself(chart: Chart) -> None:
    assert CHARTS[chart.name] is chart
    assert chart.name.isidentifier() and chart.title
    assert 1 <= chart.caption.count(". ") + 1 <= 5 and chart.caption.endswith(".")


@all_charts
@pytest.mark.parametrize("make", PROFILES)
def test_figure_table_and_summary_go_together(chart: Chart, make: Callable[[], Profile]) -> None:
    subjects = [Subject(make())]
    figure, table, summary = chart.make(subjects), chart.table(subjects), chart.summary(subjects[0].profile)
    if figure is None:
        assert table is None
        return
    assert table is not None and table.rows and summary.endswith(".")
    assert len(set(table.columns)) == len(table.columns)
    assert {len(row) for row in table.rows} == {len(table.columns)}
    json.dumps(table, allow_nan=False)
    assert json.loads(plotly.io.from_json(figure.to_json()).to_json()) == json.loads(figure.to_json())
    assert figure.layout.title.text is None and figure.layout.paper_bgcolor == "rgba(0,0,0,0)"


@all_charts
def test_charts_of_several_models(chart: Chart) -> None:
    subjects = [Subject(make()) for make in PROFILES]
    if chart.many:
        assert chart.make(subjects) is not None
        table = chart.table(subjects)
        assert table is not None and len({row[0] for row in table.rows}) >= len(subjects) - 1


@all_charts
def test_text_from_the_data_stays_text(chart: Chart) -> None:
    subject = Subject(hostile(), observed(hostile()))
    for subjects in [[subject], [subject, subject]] if chart.many else [[subject]]:
        figure = chart.make(subjects)
        assert figure is not None
        text = figure.to_json().encode().decode("unicode_escape")
        assert "<script" not in text and "<img" not in text and "alert(1)&gt;%{x}" not in text


def test_the_names_are_what_other_programs_ask_for() -> None:
    wanted = "entropy redundancy utility frontier treatments spectrum spectrum_3d boundaries sample_size time"
    assert list(CHARTS) == wanted.split()


def test_the_shipped_profiles_show_everything() -> None:
    for path in SHIPPED.glob("*.json"):
        assert all(chart.make([Subject(Profile.load(path))]) for chart in CHARTS.values())


@pytest.mark.parametrize("make", PROFILES)
def test_entropy_shows_every_value(make: Callable[[], Profile]) -> None:
    profile = make()
    figure, table = CHARTS["entropy"].make([Subject(profile)]), CHARTS["entropy"].table([Subject(profile)])
    assert figure is not None and table is not None
    for name in ("visual", "text", "joint"):
        curve = getattr(profile.curves, name)
        shown = next(trace for trace in figure.data if trace.name == name and trace.customdata is not None)
        assert (shown.x, shown.y) == (tuple(range(profile.layers + 1)), curve.mean)
        mean, std = (table.columns.index(f"{name} {what}") for what in ("mean", "std"))
        assert tuple(row[mean] for row in table.rows) == curve.mean
        assert tuple(row[std] for row in table.rows) == curve.std


def test_the_release_curve_is_shown_where_there_is_one() -> None:
    profile = profiles.llava_like()
    curves = profile.curves.model_copy(update={"visual_release": profile.curves.text})
    profile = profile.model_copy(update={"curves": curves})
    figure, table = CHARTS["entropy"].make([Subject(profile)]), CHARTS["entropy"].table([Subject(profile)])
    assert figure is not None and table is not None
    assert drawn(figure, "visual, public code").y == profile.curves.text.mean
    assert "visual_release mean" in table.columns


def test_the_buttons_of_the_entropy_chart_change_scale_and_axis() -> None:
    profile = profiles.qwen_like()
    figure = CHARTS["entropy"].make([Subject(profile, observed(profile))])
    assert figure is not None
    heights, depths = figure.layout.updatemenus
    assert [button.label for button in heights.buttons] == ["raw", "z-score"]
    assert [button.label for button in depths.buttons] == ["layer", "depth %"]
    change, layout, traces = heights.buttons[1].args
    assert len(change["y"]) == len(traces)
    at = [trace.y for trace in figure.data].index(profile.curves.visual.mean)
    visual = change["y"][at]
    assert abs(sum(visual)) < 1e-9
    assert math.isclose(sum(value**2 for value in visual) / len(visual), 1)
    assert layout["yaxis.title.text"] == "entropy, z-score"


def test_single_samples_wait_in_the_legend() -> None:
    profile = profiles.qwen_like()
    figure = CHARTS["entropy"].make([Subject(profile, observed(profile))])
    assert figure is not None
    waiting = [trace for trace in figure.data if trace.visible == "legendonly"]
    assert [trace.showlegend for trace in waiting] == [True, False, False]
    assert waiting[0].y == (*profile.curves.visual.mean, None) * 2


def test_several_models_stand_on_one_scale() -> None:
    subjects = [Subject(profiles.qwen_like()), Subject(profiles.llava_like())]
    figure = CHARTS["entropy"].make(subjects)
    assert figure is not None
    assert {trace.x[-1] for trace in figure.data} == {100}
    raw = figure.layout.updatemenus[0].buttons[0].args[0]["y"]
    assert tuple(raw[0]) == subjects[0].profile.curves.visual.mean
    assert len({trace.line.color for trace in figure.data}) == 2


def test_the_intervals_of_the_boundaries_are_drawn() -> None:
    figure = CHARTS["entropy"].make([Subject(profiles.qwen_like())])
    assert figure is not None
    bars = drawn(figure, "start, 90 % interval")
    assert (bars.x, bars.error_x.array, bars.error_x.arrayminus) == ((2, 21), (0, 0), (0, 1))


@pytest.mark.parametrize("make", PROFILES)
def test_redundancy_shows_every_value_and_marks_zeros(make: Callable[[], Profile]) -> None:
    profile = make()
    figure, table = CHARTS["redundancy"].make([Subject(profile)]), CHARTS["redundancy"].table([Subject(profile)])
    assert figure is not None and table is not None
    kl = profile.curves.kl
    shown = next(trace for trace in figure.data if trace.name == "KL" and trace.customdata is not None)
    assert shown.y == tuple(value if value > 0 else None for value in kl.mean)
    zeros = drawn(figure, "KL is 0 (at the floor)")
    assert zeros.x == tuple(layer for layer, value in enumerate(kl.mean) if value <= 0)
    assert all(0 < zeros.y[0] < value for value in kl.mean if value > 0)
    assert [row[3:] for row in table.rows] == list(zip(kl.mean, kl.std, strict=True))


@pytest.mark.parametrize("make", PROFILES)
def test_both_spectra_show_every_value(make: Callable[[], Profile]) -> None:
    spectrum = make().curves.spectrum
    for name in ("spectrum", "spectrum_3d"):
        figure, table = CHARTS[name].make([Subject(make())]), CHARTS[name].table([Subject(make())])
        assert figure is not None and table is not None
        columns = zip(*figure.data[0].customdata, strict=True)
        assert [tuple(value for value in column if value is not None) for column in columns] == list(spectrum)
        assert numbers(table.rows) >= numbers(spectrum)


def test_rounding_in_a_spectrum_lies_on_the_floor() -> None:
    profile = profiles.unsaturated()
    curves = profile.curves.model_copy(update={"spectrum": ((0.9, 0.1, 1e-30, 0.0, -1e-18),) * 13})
    subject = Subject(profile.model_copy(update={"curves": curves}))
    flat, surface = (CHARTS[name].make([subject]) for name in ("spectrum", "spectrum_3d"))
    assert flat is not None and surface is not None
    assert (flat.data[0].zmin, flat.data[0].zmax) == (-6, 0)
    assert [row[0] for row in flat.data[0].z][3:] == [None, None]
    assert [row[0] for row in surface.data[0].z][2:] == [-6, -6, -6]


def test_the_utility_surface_is_whole_and_marked() -> None:
    profile = shipped("tiny-llava")
    figure, table = CHARTS["utility"].make([Subject(profile)]), CHARTS["utility"].table([Subject(profile)])
    surface = profile.utility
    assert figure is not None and table is not None and surface is not None
    assert tuple(zip(*figure.data[0].z, strict=True)) == surface.utility
    everything = numbers([surface.utility, surface.saved, surface.agreement, surface.log_likelihood_drop])
    assert numbers(figure.data[0].customdata) == everything
    assert numbers(table.rows) >= everything
    marks = dict(zip(figure.data[1].x, figure.data[1].text, strict=True))
    assert marks == {"3": "text", "4": "kl", "1": "visual"}
    frames = {shape.name: (shape.x0, shape.x1, shape.y0, shape.y1) for shape in figure.layout.shapes}
    assert frames == {"start of Stage II": (2.5, 3.5, -0.5, 2.5), "taken by the plan": (2.5, 3.5, 0.5, 1.5)}


def test_the_frontier_shows_every_plan_and_what_is_unbeaten() -> None:
    profile = shipped("tiny-llava")
    figure, table = CHARTS["frontier"].make([Subject(profile)]), CHARTS["frontier"].table([Subject(profile)])
    assert figure is not None and table is not None
    tests = profile.pruning_tests
    for name, safe in (("safe", True), ("not safe", False)):
        points = list(zip(drawn(figure, name).x, drawn(figure, name).y, strict=True))
        assert points == [(test.flops_ratio, test.agreement) for test in tests if test.safe == safe]
    assert (drawn(figure, "taken").x, drawn(figure, "held-out samples").y) == ((profile.expected.flops_ratio,), (0.9,))
    assert [row[2] for row in table.rows] == [test.flops_ratio for test in tests]
    assert [row[-1] for row in table.rows] == [test.plan == profile.plan for test in tests]
    front = unbeaten(tests)
    for test in tests:
        beaten = any(
            other.flops_ratio >= test.flops_ratio and other.agreement >= test.agreement
            for other in tests
            if (other.flops_ratio, other.agreement) != (test.flops_ratio, test.agreement)
        )
        assert (test in front) != beaten


def test_targets_are_lines_of_the_frontier() -> None:
    profile = shipped("tiny-llava")
    resolved = {**profile.provenance.arguments_resolved, "target_retention": 0.97, "target_flops": 2.5}
    provenance = profile.provenance.model_copy(update={"arguments_resolved": resolved})
    figure = CHARTS["frontier"].make([Subject(profile.model_copy(update={"provenance": provenance}))])
    assert figure is not None
    assert [note.text for note in figure.layout.annotations] == ["safe from 95%", "target 97%", "target 2.5x"]


def test_the_treatments_show_every_test_once() -> None:
    profile = shipped("tiny-qwen2.5-vl")
    figure, table = CHARTS["treatments"].make([Subject(profile)]), CHARTS["treatments"].table([Subject(profile)])
    assert figure is not None and table is not None
    grid = profile.saturation.grid
    assert len(table.rows) == len(grid) == sum(len(tests) for tests in by_treatment(profile).values())
    assert {row[2] for row in table.rows} == {test.agreement for test in grid}
    assert numbers([trace.y for trace in figure.data]) == numbers(
        [(test.agreement, test.log_likelihood_drop) for test in grid]
    )
    frozen = [trace for trace in figure.data if trace.name == "freezing all visual tokens"]
    assert frozen[0].x == (5, 6, 8, 10, 11) and set(frozen[0].marker.symbol) == {"circle"}
    assert "Stage III from layer 5" in [note.text for note in figure.layout.annotations]


def test_the_boundaries_show_every_answer_none_last() -> None:
    profile = profiles.qwen_like()
    figure, table = CHARTS["boundaries"].make([Subject(profile)]), CHARTS["boundaries"].table([Subject(profile)])
    assert figure is not None and table is not None
    assert [(bars.x, bars.y) for bars in figure.data] == [(("2",), (1.0,)), (("20", "21", "none"), (0.15, 0.8, 0.05))]
    assert figure.layout.xaxis2.categoryarray == ("20", "21", "none")
    assert table.rows[1:] == (("III", 20, 0.15, False), ("III", 21, 0.8, True), ("III", "none", 0.05, False))


def test_sample_size_and_time_show_every_number() -> None:
    profile = shipped("tiny-llava")
    assert profile.uncertainty is not None
    sizes = profile.uncertainty.sample_sizes
    figure = CHARTS["sample_size"].make([Subject(profile)])
    assert figure is not None
    assert [trace.y for trace in figure.data] == [
        tuple(size.same for size in sizes),
        tuple(size.within_one for size in sizes),
    ]
    time = CHARTS["time"].make([Subject(profile)])
    assert time is not None
    assert dict(zip(time.data[0].y, time.data[0].x, strict=True)) == profile.provenance.seconds_by_step


@pytest.mark.parametrize("background", [1.0, 0.006])  # luminance of white, and of near-black
def test_every_colour_holds_on_white_and_near_black(background: float) -> None:
    for color in {*MODELS, *(style.color for style in STYLES.values()), "#787F87", "#B37800"}:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        light = sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
        high, low = max(light, background), min(light, background)
        assert (high + 0.05) / (low + 0.05) >= 3, color


def test_names_differ_and_say_no_path() -> None:
    subjects = [Subject(profiles.build(4, 1, None, profiles.unsaturated().plan, "none", model_id=name)) for name in
                ("a/b/model", "model", "org/other/")]  # fmt: skip
    assert names(subjects) == ["model (1)", "model (2)", "other"]
    assert plain("a<b>%{x}&") == "a&lt;b&gt;%&#123;x}&amp;"


def test_a_profile_draws_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("report", "probe.report.figures:draw", "halfv_core.figures")
    monkeypatch.setattr("halfv_core.profile.entry_points", lambda group: [entry] if group == entry.group else [])
    profile = profiles.qwen_like()
    assert profile.figure("entropy") == draw(profile, "entropy")
    with pytest.raises(HalfVError, match="unknown figure; got 'entropies'; expected one of entropy, redundancy"):
        profile.figure("entropies")
    with pytest.raises(HalfVError, match="no data for the figure; got 'utility'; expected .*boundaries.*; .*calibrate"):
        profile.figure("utility")


def test_the_distribution_names_what_draws_a_profile() -> None:
    text = (Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points."halfv_core.figures"]\nreport = "probe.report.figures:draw"\n' in text


@pytest.mark.parametrize("found", [[], [EntryPoint("report", "not_installed:draw", "halfv_core.figures")]])
def test_without_the_drawing_part_one_line_says_so(found: list[EntryPoint], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halfv_core.profile.entry_points", lambda group: found)
    with pytest.raises(
        HalfVError, match="cannot draw figures; got no package.*; expected .*; `pip install halfv-probe`"
    ):
        profiles.qwen_like().figure("entropy")
