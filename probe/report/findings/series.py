"""Charts of `LayerSeries`: one line with its interval for each group, over layers or hidden states."""

from collections.abc import Iterator, Sequence
from itertools import chain

import plotly.graph_objects as go

from probe.analyzers.findings import LayerSeries
from probe.report.figures import Cell, Table
from probe.report.figures._controls import Change, add_buttons
from probe.report.figures._stages import LABEL_HEIGHT
from probe.report.figures._style import MODELS, STYLES, SYMBOLS, Style, escaped
from probe.report.findings.chart import (
    LOG_FROM,
    Depth,
    FindingChart,
    axis_title,
    over_layers,
    value_title,
    with_unit,
    wrapped,
)

DASHES = ("solid", "dash", "dot", "dashdot")
NAME_WIDTH = 36
"""Characters of a group's name in one line of the legend."""
FIXED = {name: STYLES[name] for name in ("visual", "text", "joint")}
"""Groups that look the same in all charts of the report."""


def chart(found: Sequence[LayerSeries], depth: Depth) -> FindingChart:
    """One chart of series that share title, unit and axis."""
    first = found[0]
    return FindingChart(
        name=first.name,
        title=first.title,
        caption=_caption(found),
        summary=" ".join(map(_summary, found)),
        figure=_figure(found, depth),
        table=_table(found),
    )


def _caption(found: Sequence[LayerSeries]) -> str:
    samples = sorted({series.samples for series in found})
    counts = f"{samples[0]}" if len(samples) == 1 else f"{samples[0]} to {samples[-1]}"
    noun = "sample" if samples == [1] else "samples"
    return f"Mean over {counts} {noun}; the band is its 95 % bootstrap interval."


def _summary(series: LayerSeries) -> str:
    high = max(range(len(series.mean)), key=series.mean.__getitem__)
    low = min(range(len(series.mean)), key=series.mean.__getitem__)
    place = axis_title(series.axis)
    name = f"{series.group}: " if series.group else ""
    highest = f"highest {with_unit(series.mean[high], series)} at {place} {high}"
    return f"{name}{highest}, lowest {with_unit(series.mean[low], series)} at {place} {low}."


def _figure(found: Sequence[LayerSeries], depth: Depth) -> go.Figure:
    fig = go.Figure()
    for series, style in zip(found, _styles(found), strict=True):
        fig.add_trace(_band(series, style))
        fig.add_trace(_line(series, style))
    with_legend = any(series.group for series in found)
    over_layers(fig, depth, found[0].axis, height=380 if with_legend else 360, bottom=64 if with_legend else 44)
    fig.update_layout(hovermode="x unified", showlegend=with_legend)
    fig.update_xaxes(unifiedhovertitle={"text": f"{axis_title(found[0].axis)} %{{x}}"})
    fig.update_yaxes(title_text=value_title(found[0]))
    values = [value for series in found for value in (*series.mean, *series.low)]
    if min(values) > 0 and max(values) > LOG_FROM * min(values):
        choices = {kind: Change({}, {"yaxis.type": kind, "yaxis.autorange": True}) for kind in ("linear", "log")}
        add_buttons(fig, choices, active="linear", count=0, rise=LABEL_HEIGHT if depth.stages else 8)
    return fig


def _styles(found: Sequence[LayerSeries]) -> list[Style]:
    """Colour, dash and symbol of each series; known groups have the same look everywhere."""
    taken = {FIXED[series.group].color for series in found if series.group in FIXED}
    free = [color for color in MODELS if color not in taken] or list(MODELS)
    styles, others = [], 0
    for series in found:
        if series.group in FIXED:
            styles.append(FIXED[series.group])
            continue
        color, turn = free[others % len(free)], others // len(free)
        dash, symbol = DASHES[(others + turn) % len(DASHES)], SYMBOLS[(others + turn) % len(SYMBOLS)]
        styles.append(Style(color, _translucent(color), dash, symbol))
        others += 1
    return styles


def _translucent(color: str) -> str:
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},.18)"


def _line(series: LayerSeries, style: Style) -> go.Scatter:
    return go.Scatter(
        name=wrapped(series.group or series.title, NAME_WIDTH),
        legendgroup=escaped(series.name),
        x=list(range(len(series.mean))),
        y=series.mean,
        customdata=list(zip(series.low, series.high, strict=True)),
        mode="lines+markers",
        line={"color": style.color, "dash": style.dash, "width": 2},
        marker={"symbol": style.symbol, "size": 6},
        hovertemplate="%{y:.3g} (%{customdata[0]:.3g} to %{customdata[1]:.3g})",
    )


def _band(series: LayerSeries, style: Style) -> go.Scatter:
    x = list(range(len(series.mean)))
    return go.Scatter(
        legendgroup=escaped(series.name),
        x=[*x, *reversed(x)],
        y=[*series.high, *reversed(series.low)],
        fill="toself",
        fillcolor=style.band,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
    )


def _table(found: Sequence[LayerSeries]) -> Table:
    return Table(tuple(_columns(found)), tuple(tuple(_row(found, point)) for point in range(_points(found))))


def _points(found: Sequence[LayerSeries]) -> int:
    return max(len(series.mean) for series in found)


def _columns(found: Sequence[LayerSeries]) -> Iterator[str]:
    yield axis_title(found[0].axis)
    for series in found:
        prefix = f"{series.group} " if series.group else ""
        yield from (f"{prefix}mean", f"{prefix}from", f"{prefix}to")


def _row(found: Sequence[LayerSeries], point: int) -> Iterator[Cell]:
    yield point
    cells = ((series.mean[point], series.low[point], series.high[point]) for series in found)
    yield from chain.from_iterable(cells)
