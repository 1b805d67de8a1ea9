"""Truncated matrix entropy over the layers: one model with deviations, stages and intervals, or several compared."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain

import plotly.graph_objects as go

from halfv_core.profile import Curve, Curves, Profile
from halfv_core.records import Sinks
from probe.calibration.sink_effect import SINK_GROUPS, sink_effect
from probe.report.figures._controls import Change, add_buttons
from probe.report.figures._curves import Scale, band, line, sample_lines, x_positions, z_score
from probe.report.figures._entropies import NATS, Z_SCORE, comparison_figure
from probe.report.figures._stages import LABEL_HEIGHT, add_intervals, shade_stages
from probe.report.figures._style import STYLES, Style, apply_layout, model_names
from probe.report.figures.chart import Cell, Chart, Subject, Table


def figure(subjects: Sequence[Subject]) -> go.Figure:
    """For one model, all curves in nats over layers; for several, z-scores over depth with one colour per model."""
    return _single_model(subjects[0]) if len(subjects) == 1 else comparison_figure(subjects)


def table(subjects: Sequence[Subject]) -> Table:
    """One row for each model and layer."""
    columns = ["model", "layer", "depth %"]
    groups = [group for group in ("visual", "text", "joint", "visual_release") if _any(subjects, group)]
    columns += [f"{group} {what}" for group in groups for what in ("mean", "std")]
    with_sinks = [group for group in SINK_GROUPS if _any(subjects, f"{group}_sinks")]
    columns += [f"{group} {what}" for group in with_sinks for what in ("sinks", "norm ratio", "without sinks")]
    rows = []
    for name, (profile, _) in zip(model_names(subjects), subjects, strict=True):
        depths = x_positions(profile.layers + 1, profile.layers, depth=True)
        for layer, depth in enumerate(depths):
            curves = (getattr(profile.curves, group) for group in groups)
            values = ((curve.mean[layer], curve.std[layer]) if curve else (None, None) for curve in curves)
            sinks = (_sink_cells(getattr(profile.curves, f"{group}_sinks"), layer) for group in with_sinks)
            row: list[Cell] = [name, layer, depth, *chain.from_iterable(values), *chain.from_iterable(sinks)]
            rows.append(tuple(row))
    return Table(tuple(columns), tuple(rows))


def _sink_cells(sinks: Sinks | None, layer: int) -> tuple[Cell, ...]:
    if sinks is None:
        return (None, None, None)
    return (sinks.tokens[layer], sinks.norm_ratio[layer], sinks.entropy_without[layer])


def summary(profile: Profile) -> str:
    """The visual entropy at the first layer, at its minimum, and at the end."""
    visual = profile.curves.visual.mean
    low = min(range(len(visual)), key=visual.__getitem__)
    if low == 0:
        return f"Visual entropy is lowest at layer 0, with {visual[0]:.2f} nats, and ends at {visual[-1]:.2f}."
    fall = f"Visual entropy goes from {visual[0]:.2f} nats at layer 0 to its lowest, {visual[low]:.2f}, at layer {low}"
    return f"{fall}." if low == len(visual) - 1 else f"{fall}, and ends at {visual[-1]:.2f}."


def measured_curves(curves: Curves) -> list[tuple[str, Curve, Style]]:
    """Name, curve and style of each entropy that was measured."""
    curves_and_styles = [(name, getattr(curves, name), STYLES[name]) for name in ("visual", "text", "joint")]
    release = curves.visual_release
    return curves_and_styles + ([("visual, public code", release, STYLES["release"])] if release is not None else [])


def _single_model(subject: Subject) -> go.Figure:
    profile = subject.profile
    raw, scored = (_traces(subject, z=z) for z in (False, True))
    fig = go.Figure(raw)
    shade_stages(fig, profile.stages, profile.layers, points=profile.layers + 1)
    apply_layout(fig, height=500, top=118, bottom=64)
    fig.update_layout(hovermode="x unified")
    fig.update_xaxes(title_text="layer", range=[-0.5, profile.layers + 0.5], unifiedhovertitle={"text": "layer %{x}"})
    fig.update_yaxes(title_text=NATS)
    add_intervals(fig, profile)
    heights = {
        "raw": Change({"y": [trace.y for trace in raw]}, {"yaxis.title.text": NATS, "yaxis.autorange": True}),
        "z-score": Change({"y": [trace.y for trace in scored]}, {"yaxis.title.text": Z_SCORE, "yaxis.autorange": True}),
    }
    add_buttons(fig, heights, active="raw", count=len(raw), rise=LABEL_HEIGHT)
    add_buttons(fig, _tick_choices(profile.layers), active="layer", count=0, right=True, rise=LABEL_HEIGHT)
    return fig


def _tick_choices(layers: int) -> dict[str, Change]:
    """Buttons that relabel the axis without moving the points."""
    quarters = {"xaxis.tickvals": [layers * part / 4 for part in range(5)]}
    percent = {"xaxis.ticktext": ["0", "25", "50", "75", "100"], "xaxis.tickmode": "array"}
    return {
        "layer": Change({}, {"xaxis.title.text": "layer", "xaxis.tickmode": "auto"}),
        "depth %": Change({}, {"xaxis.title.text": "depth, %", **quarters, **percent}),
    }


def _traces(subject: Subject, z: bool) -> list[go.Scatter]:
    """Deviations, means, and the curves of single samples, which are hidden until chosen in the legend."""
    profile = subject.profile
    x = x_positions(profile.layers + 1, profile.layers, depth=False)
    known = [(*group, z_score(group[1]) if z else Scale()) for group in measured_curves(profile.curves)]
    traces = [band(name, curve, x, style, scale) for name, curve, style, scale in known]
    traces += [line(name, curve, x, style, scale, ".3f") for name, curve, style, scale in known]
    traces += _without_sinks(profile.curves, {name: scale for name, _, _, scale in known})
    samples = subject.observations.samples if subject.observations is not None else ()
    if samples:
        traces += [
            sample_lines([getattr(sample, name) for sample in samples], style, scale, legend=name == "visual")
            for name, _, style, scale in known[:3]
        ]
    return traces


def _without_sinks(curves: Curves, scales: Mapping[str, Scale]) -> Iterator[go.Scatter]:
    """The curves without sinks, on the scale of those with them, where they differ noticeably."""
    for group in SINK_GROUPS:
        effect = sink_effect(curves, group)
        if effect is None:
            continue
        name, values = f"{group}, without sinks", effect.sinks.entropy_without
        yield go.Scatter(
            name=name,
            legendgroup=name,
            x=list(range(len(values))),
            y=scales[group].of(values),
            customdata=values,
            mode="lines",
            line={"color": STYLES[group].color, "dash": "longdash", "width": 1.5},
            hovertemplate="%{customdata:.3f} nats",
        )


def _any(subjects: Sequence[Subject], group: str) -> bool:
    return any(getattr(profile.curves, group) is not None for profile, _ in subjects)


CHART = Chart(
    name="entropy",
    title="Entropy along depth",
    caption=(
        "How many directions the tokens spread over at the input of each layer (truncated matrix entropy): the mean "
        "over the calibration samples, with one standard deviation as a band. The tints are the stages, the bars below "
        "their beginnings with 90 % intervals. When models are compared, each has one colour: solid lines "
        "are visual, dashed ones text, and large markers stand where a stage begins. Where sink tokens, whose hidden "
        "states are more than ten times as long as usual, change an entropy, a thin dashed line shows it without them."
    ),
    make=figure,
    table=table,
    summary=summary,
    many=True,
)
