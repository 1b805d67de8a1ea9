"""Properties of every chart: texts, figure and table agree, nothing crashes, and no content is active."""

import json
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path

import plotly.io
import pytest

from halfv_core import HalfVError, Profile
from halfv_core.models import bundled_models
from probe.report.figures import CHARTS, Chart, Subject, draw
from probe.report.figures._style import MODELS, STYLES, escaped, model_names
from tests import profiles
from tests.unit.probe.report.figure_subjects import PROFILES, hostile, observed, shipped

all_charts = pytest.mark.parametrize("chart", CHARTS.values(), ids=list(CHARTS))


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
        if figure is None:
            assert chart.name == "treatments"  # causes were measured instead
            continue
        text = figure.to_json().encode().decode("unicode_escape")
        assert "<script" not in text and "<img" not in text and "alert(1)&gt;%{x}" not in text


def test_the_names_are_what_other_programs_ask_for() -> None:
    wanted = "entropy redundancy utility frontier causes treatments spectrum spectrum_3d boundaries sample_size time"
    assert list(CHARTS) == wanted.split()


def test_the_shipped_profiles_show_everything() -> None:
    for name in bundled_models():
        missing = [chart.name for chart in CHARTS.values() if not chart.make([Subject(shipped(name))])]
        assert missing in (["causes"], ["treatments"])


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
    assert model_names(subjects) == ["model (1)", "model (2)", "other"]
    assert escaped("a<b>%{x}&") == "a&lt;b&gt;%&#123;x}&amp;"


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
    text = (Path(__file__).parents[4] / "pyproject.toml").read_text(encoding="utf-8")
    assert '[project.entry-points."halfv_core.figures"]\nreport = "probe.report.figures:draw"\n' in text


@pytest.mark.parametrize("found", [[], [EntryPoint("report", "not_installed:draw", "halfv_core.figures")]])
def test_without_the_drawing_part_one_line_says_so(found: list[EntryPoint], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("halfv_core.profile.entry_points", lambda group: found)
    with pytest.raises(
        HalfVError, match="cannot draw figures; got no package.*; expected .*; `pip install halfv-probe`"
    ):
        profiles.qwen_like().figure("entropy")
