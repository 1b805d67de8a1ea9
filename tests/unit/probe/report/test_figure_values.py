"""Chart by chart: every number of the profile is in the figure and in the table."""

import math
from collections.abc import Callable

import pytest

from halfv_core import Profile
from probe.report.figures import CHARTS, Subject
from tests import profiles
from tests.unit.probe.report.figure_subjects import PROFILES, numbers, observed, shipped, trace_of, with_sinks


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
    assert trace_of(figure, "visual, public code").y == profile.curves.text.mean
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
    bars = trace_of(figure, "start, 90 % interval")
    assert (bars.x, bars.error_x.array, bars.error_x.arrayminus) == ((2, 21), (0, 0), (0, 1))


@pytest.mark.parametrize("make", PROFILES)
def test_redundancy_shows_every_value_and_marks_zeros(make: Callable[[], Profile]) -> None:
    profile = make()
    figure, table = CHARTS["redundancy"].make([Subject(profile)]), CHARTS["redundancy"].table([Subject(profile)])
    assert figure is not None and table is not None
    kl, typical = profile.curves.kl, profile.curves.kl_typical
    drawn = kl.mean if typical is None else typical
    shown = next(trace for trace in figure.data if trace.name == "KL" and trace.customdata is not None)
    assert shown.y == tuple(value if value > 0 else None for value in drawn)
    zeros = trace_of(figure, "KL is 0 (at the floor)")
    assert zeros.x == tuple(layer for layer, value in enumerate(drawn) if value <= 0)
    assert all(0 < zeros.y[0] < value for value in drawn if value > 0)
    assert [row[3:] for row in table.rows] == list(zip(typical or [None] * len(drawn), kl.mean, kl.std, strict=True))
    assert any(trace.fill == "toself" for trace in figure.data) == (typical is None)


def test_samples_with_a_kl_curve_wait_in_the_legend_and_the_others_are_left_out() -> None:
    profile = with_sinks()
    observations = observed(profile)
    one, other = observations.samples
    few = observations.model_copy(update={"samples": (one, other.model_copy(update={"kl": ()}))})
    figure = CHARTS["redundancy"].make([Subject(profile, few)])
    assert figure is not None
    lines, floor = trace_of(figure, "single samples"), trace_of(figure, "KL is 0 (at the floor)").y[0]
    assert (lines.visible, lines.showlegend) == ("legendonly", True)
    assert lines.y == (*one.kl[:-1], floor, None)
    assert CHARTS["entropy"].make([Subject(profile, few)]) is not None


def test_the_entropy_without_sinks_is_drawn_where_it_differs() -> None:
    profile = with_sinks()
    figure, table = CHARTS["entropy"].make([Subject(profile)]), CHARTS["entropy"].table([Subject(profile)])
    sinks, names = profile.curves.text_sinks, [trace.name for trace in figure.data] if figure else []
    assert figure is not None and table is not None and sinks is not None
    assert "visual, without sinks" not in names
    dashed = trace_of(figure, "text, without sinks")
    assert (dashed.y, dashed.line.dash) == (sinks.entropy_without, "longdash")
    scored = figure.layout.updatemenus[0].buttons[1].args[0]["y"][names.index(dashed.name)]
    text = profile.curves.text.mean
    mean, deviation = sum(text) / len(text), math.sqrt(sum((v - sum(text) / len(text)) ** 2 for v in text) / len(text))
    assert scored == pytest.approx([(value - mean) / deviation for value in sinks.entropy_without])
    columns = dict(zip(table.columns, zip(*table.rows, strict=True), strict=True))
    assert columns["text sinks"] == sinks.tokens and columns["text norm ratio"] == sinks.norm_ratio
    assert columns["text without sinks"] == sinks.entropy_without
    small = sinks.model_copy(update={"entropy_without": tuple(value + 0.19 for value in text)})
    curves = profile.curves.model_copy(update={"text_sinks": small})
    unnoticed = CHARTS["entropy"].make([Subject(profile.model_copy(update={"curves": curves}))])
    assert unnoticed is not None and "text, without sinks" not in [trace.name for trace in unnoticed.data]


def test_profiles_with_and_without_sinks_share_a_table() -> None:
    table = CHARTS["entropy"].table([Subject(with_sinks()), Subject(profiles.llava_like())])
    assert table is not None
    assert {row[-3:] for row in table.rows if row[0] == "llava-1.5-7b"} == {(None, None, None)}


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
    assert marks == {"3": "text", "2": "kl", "1": "visual"}
    frames = {shape.name: (shape.x0, shape.x1, shape.y0, shape.y1) for shape in figure.layout.shapes}
    # The shipped plan only freezes, so that no cell of the surface is part of it.
    assert frames == {"start of Stage II": (2.5, 3.5, -0.5, 2.5)}


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
