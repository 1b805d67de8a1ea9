"""The entropies of several models in one chart, as in papers: one colour per model, z-scored, over relative depth."""

from collections.abc import Sequence

import plotly.graph_objects as go

from halfv_core.profile import Profile
from probe.report.figures._controls import Change, add_buttons
from probe.report.figures._curves import Scale, line, x_positions, z_score
from probe.report.figures._style import STYLES, apply_layout, escaped, model_names, model_styles
from probe.report.figures.chart import Subject

NATS = "entropy, nats"
Z_SCORE = "entropy, z-score"
LAST_RANK = 2000
"""Legend rank larger than plotly's default, so that the entry comes last."""


def comparison_figure(subjects: Sequence[Subject]) -> go.Figure:
    """Visual curves are solid and text curves dashed; the dotted joint curves are hidden until chosen in the legend."""
    shown = _traces(subjects, z=True, depth=True)
    fig = go.Figure(shown)
    apply_layout(fig, height=440, top=60, bottom=64)
    fig.update_xaxes(title_text="depth, %")
    fig.update_yaxes(title_text=Z_SCORE)
    raw, scored = ([trace.y for trace in _traces(subjects, z=z, depth=True)] for z in (False, True))
    layers, depths = ([trace.x for trace in _traces(subjects, z=True, depth=depth)] for depth in (False, True))
    heights = {
        "raw": Change({"y": raw}, {"yaxis.title.text": NATS, "yaxis.autorange": True}),
        "z-score": Change({"y": scored}, {"yaxis.title.text": Z_SCORE, "yaxis.autorange": True}),
    }
    widths = {
        "layer": Change({"x": layers}, {"xaxis.title.text": "layer", "xaxis.autorange": True}),
        "depth %": Change({"x": depths}, {"xaxis.title.text": "depth, %", "xaxis.autorange": True}),
    }
    add_buttons(fig, heights, active="z-score", count=len(shown))
    add_buttons(fig, widths, active="depth %", count=len(shown), right=True)
    return fig


def _traces(subjects: Sequence[Subject], *, z: bool, depth: bool) -> list[go.Scatter]:
    traces: list[go.Scatter] = []
    for name, (profile, _), style in zip(model_names(subjects), subjects, model_styles(), strict=False):
        x = x_positions(profile.layers + 1, profile.layers, depth)
        for group in ("visual", "text", "joint"):
            curve = getattr(profile.curves, group)
            look = style._replace(dash=STYLES[group].dash)
            trace = line(escaped(name), curve, x, look, z_score(curve) if z else Scale(), ".3f")
            trace.hovertemplate = (
                f"layer %{{customdata[0]}}: {trace.hovertemplate}<extra>{escaped(name)}, {group}</extra>"
            )
            trace.showlegend = group == "visual"
            if group == "joint":
                first = not any(earlier.legendgroup == group for earlier in traces)
                trace.update(
                    name="joint curves", legendgroup=group, showlegend=first, legendrank=LAST_RANK, visible="legendonly"
                )
            trace.marker.update(size=_sizes(profile), opacity=1, line={"width": 0})
            traces.append(trace)
    return traces


def _sizes(profile: Profile) -> list[int]:
    """Marker sizes, larger where a stage begins."""
    starts = (profile.stages.aggregation_start, profile.stages.saturation_start)
    return [13 if layer in starts else 5 for layer in range(profile.layers + 1)]
