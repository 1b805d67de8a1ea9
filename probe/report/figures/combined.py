"""Entropy and redundancy in one picture of two panels, as the READMEs show it."""

import math

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from halfv_core.profile import Curve, Profile
from probe.report.figures import spectrum
from probe.report.figures._stages import TINTS as STAGE_TINTS
from probe.report.figures._style import STYLES, Style
from probe.report.figures.chart import Subject
from probe.report.words import stage_spans


def entropy_figure(profile: Profile) -> go.Figure:
    """The three entropy curves over the stages, and below them, on a log axis, the KL redundancy of each layer."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.62, 0.38], vertical_spacing=0.06)
    curves = profile.curves
    for name, curve in (("visual", curves.visual), ("text", curves.text), ("joint", curves.joint)):
        _add_band(figure, curve, STYLES[name], row=1)
        figure.add_trace(_line(name, curve, STYLES[name], "%{y:.3f} ± %{customdata:.3f} nats"), row=1, col=1)
    if curves.visual_release is not None:
        release = _line("visual, public code", curves.visual_release, STYLES["release"], "%{y:.3f} nats")
        figure.add_trace(release, row=1, col=1)
    _add_kl(figure, curves.kl)
    _shade_stages(figure, profile)
    _lay_out(figure, height=720, top=84, bottom=100)
    below = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "xref": "container", "x": 0}
    figure.update_layout(hovermode="x unified", legend=below)
    figure.update_xaxes(range=[-0.5, profile.layers + 0.5], unifiedhovertitle={"text": "layer %{x}"})
    figure.update_xaxes(title="layer", title_standoff=6, row=2, col=1)
    figure.update_yaxes(title="entropy, nats", row=1, col=1)
    log = {"type": "log", "exponentformat": "power", "dtick": _decades(curves.kl), "tickfont": {"size": 10}}
    figure.update_yaxes(title="KL, nats", **log, row=2, col=1)
    return figure


def spectrum_figure(profile: Profile) -> go.Figure:
    """The chart `spectrum`, under its old name."""
    return spectrum.figure([Subject(profile)])


def _line(name: str, curve: Curve, style: Style, value: str) -> go.Scatter:
    return go.Scatter(
        name=name,
        y=list(curve.mean),
        x=list(range(len(curve.mean))),
        customdata=list(curve.std),
        mode="lines+markers",
        line={"color": style.color, "dash": style.dash, "width": 2},
        marker={"symbol": style.symbol, "size": 6},
        legendgroup=name,
        hovertemplate=value,
    )


def _add_band(figure: go.Figure, curve: Curve, style: Style, row: int, floor: float = -math.inf) -> None:
    """One standard deviation around the mean, cut off at `floor`."""
    above = [mean + std for mean, std in zip(curve.mean, curve.std, strict=True)]
    below = [max(floor, mean - std) for mean, std in zip(curve.mean, curve.std, strict=True)]
    layers = list(range(len(curve.mean)))
    band = go.Scatter(
        x=layers + layers[::-1],
        y=[max(floor, value) for value in above] + below[::-1],
        fill="toself",
        fillcolor=style.band,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )
    figure.add_trace(band, row=row, col=1)


def _add_kl(figure: go.Figure, curve: Curve) -> None:
    """The KL curve; a log axis has no place for 0, so zeros are hollow markers on a floor below all other values."""
    style, floor = STYLES["KL"], _floor(curve)
    _add_band(figure, curve, style, row=2, floor=floor)
    line = _line("KL", curve, style, "%{y:.2e} ± %{customdata:.1e} nats")
    line.y = [value if value > 0 else None for value in curve.mean]
    figure.add_trace(line, row=2, col=1)
    zeros = [layer for layer, value in enumerate(curve.mean) if value <= 0]
    marks = go.Scatter(
        name="KL is 0 (drawn at the floor)",
        x=zeros,
        y=[floor] * len(zeros),
        customdata=[curve.mean[layer] for layer in zeros],
        mode="markers",
        marker={"symbol": "triangle-down-open", "size": 10, "color": style.color, "line": {"width": 2}},
        cliponaxis=False,
        hovertemplate="%{customdata} nats",
    )
    if zeros:
        figure.add_trace(marks, row=2, col=1)


def _floor(curve: Curve) -> float:
    """The power of ten at least half a decade below every positive mean."""
    smallest = min((value for value in curve.mean if value > 0), default=1e-6)
    return float(10.0 ** math.floor(math.log10(smallest) - 0.5))


def _decades(curve: Curve) -> int:
    """Whole decades between ticks, so that a wide log axis has about five."""
    return max(1, round((math.log10(max(*curve.mean, _floor(curve))) - math.log10(_floor(curve))) / 5))


def _shade_stages(figure: go.Figure, profile: Profile) -> None:
    """Tint the stages in both panels; the page shortens a label to its numeral (`name`) where it has no room."""
    for span in stage_spans(profile.stages, profile.layers):
        last = span.last + (1 if span.last == profile.layers - 1 else 0)
        left, right = span.first - 0.5, last + 0.5
        tint = {"fillcolor": STAGE_TINTS[span.numeral], "line_width": 0, "layer": "below"}
        figure.add_vrect(x0=left, x1=right, **tint, row="all", col=1)
        figure.add_annotation(
            name=span.numeral,
            text=f"<b>{span.numeral}</b><br>{span.name}<br>{span.layers}",
            x=(left + right) / 2,
            y=1.0,
            yref="paper",
            yanchor="bottom",
            showarrow=False,
        )


def _lay_out(figure: go.Figure, *, height: int, top: int, bottom: int) -> None:
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 58, "r": 16, "t": top, "b": bottom},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"namelength": -1},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": "#808890", "activecolor": "#0072B2"},
    )
    figure.update_xaxes(gridcolor="rgba(128,128,128,.2)", zeroline=False)
    figure.update_yaxes(gridcolor="rgba(128,128,128,.2)", zeroline=False, automargin=True, title_standoff=8)
