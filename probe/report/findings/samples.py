"""Charts of `SampleTable`: how single samples are spread, over layers or in a histogram."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from probe.analyzers.findings import Array, SampleTable
from probe.report.figures import Table
from probe.report.figures._curves import Scale, sample_lines
from probe.report.figures._style import MODELS, STYLES, apply_layout
from probe.report.findings.chart import Depth, FindingChart, axis_title, number, over_layers, value_title, with_unit

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
NAMES = ("lowest", "10 %", "25 %", "median", "75 %", "90 %", "highest")
STYLE = STYLES["KL"]
WIDE_BAND = "rgba(154,91,181,.12)"
MOST_BINS = 30
MOST_LINES = 100
"""Samples whose own lines can be shown."""


def chart(finding: SampleTable, depth: Depth, sample_ids: Sequence[str]) -> FindingChart:
    """One chart."""
    return _histogram(finding, sample_ids) if finding.axis is None else _spread(finding, depth)


def _spread(finding: SampleTable, depth: Depth) -> FindingChart:
    assert finding.axis is not None
    table = np.quantile(np.array(finding.values), QUANTILES, axis=0)  # (quantiles, points)
    middle = table[QUANTILES.index(0.5)].tolist()
    high = max(range(len(middle)), key=middle.__getitem__)
    low = min(range(len(middle)), key=middle.__getitem__)
    place = axis_title(finding.axis)
    shown = min(len(finding.values), MOST_LINES)
    return FindingChart(
        name=finding.name,
        title=finding.title,
        caption=f"The median of {len(finding.values)} samples; the bands hold the middle half, and all but a tenth at "
        f"either end. The lines of {'single' if shown == len(finding.values) else f'the first {shown}'} samples can be "
        "shown.",
        summary=f"The median is highest at {place} {high}, {with_unit(middle[high], finding)}, and lowest at {place} "
        f"{low}, {with_unit(middle[low], finding)}.",
        figure=_spread_figure(finding, table, depth),
        table=Table(
            (place, *NAMES), tuple((point, *column) for point, column in enumerate(zip(*table.tolist(), strict=True)))
        ),
    )


def _spread_figure(finding: SampleTable, table: Array, depth: Depth) -> go.Figure:
    assert finding.axis is not None
    x = list(range(table.shape[1]))
    fig = go.Figure()
    for low, high, color in ((1, 5, WIDE_BAND), (2, 4, STYLE.band)):
        y = [*table[high].tolist(), *reversed(table[low].tolist())]
        band = {"fill": "toself", "fillcolor": color, "line": {"width": 0}, "mode": "lines", "hoverinfo": "skip"}
        name = "10 % to 90 %" if low == 1 else "25 % to 75 %"
        fig.add_scatter(x=[*x, *reversed(x)], y=y, name=name, **band)
    fig.add_scatter(
        x=x,
        y=table[3].tolist(),
        customdata=table.T.tolist(),
        name="median",
        mode="lines+markers",
        line={"color": STYLE.color, "width": 2},
        marker={"symbol": STYLE.symbol, "size": 6},
        hovertemplate="median %{y:.3g}; 10 % to 90 %: %{customdata[1]:.3g} to %{customdata[5]:.3g}",
    )
    fig.add_trace(sample_lines(finding.values[:MOST_LINES], STYLE, Scale(), legend=True))
    over_layers(fig, depth, finding.axis, height=380)
    fig.update_layout(hovermode="x unified")
    fig.update_xaxes(unifiedhovertitle={"text": f"{axis_title(finding.axis)} %{{x}}"})
    fig.update_yaxes(title_text=value_title(finding))
    return fig


def _histogram(finding: SampleTable, sample_ids: Sequence[str]) -> FindingChart:
    values = [row[0] for row in finding.values]
    return FindingChart(
        name=finding.name,
        title=finding.title,
        caption=f"How many of {len(values)} samples have which value.",
        summary=f"Median {with_unit(float(np.median(values)), finding)}, from {number(min(values))} to "
        f"{number(max(values))}.",
        figure=_histogram_figure(finding, values),
        table=Table(("sample", "value"), tuple(zip(sample_ids, values, strict=True))),
    )


def _histogram_figure(finding: SampleTable, values: Sequence[float]) -> go.Figure:
    edges = _edges(values)
    counts = np.histogram(values, edges)[0].tolist()
    whole = float(edges[1] - edges[0]) == 1.0 and float(edges[0]) % 1 == 0.5
    spans = [
        number(low + 0.5) if whole else f"{number(low)} to {number(high)}"
        for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
    ]
    fig = go.Figure(
        go.Bar(
            x=((edges[:-1] + edges[1:]) / 2).tolist(),
            y=counts,
            width=np.diff(edges).tolist(),
            text=spans,
            textposition="none",
            marker={"color": MODELS[0], "line": {"width": 1, "color": "rgba(255,255,255,.6)"}},
            hovertemplate="%{text}: %{y} samples<extra></extra>",
        )
    )
    apply_layout(fig, height=280, top=16, bottom=48)
    fig.update_layout(hovermode="closest")
    fig.update_xaxes(title_text=value_title(finding))
    fig.update_yaxes(title_text="samples", rangemode="tozero", tickformat="d")
    return fig


def _edges(values: Sequence[float]) -> Array:
    """Edges of bins of equal width; one for each number if all are whole and there are few."""
    low, high = min(values), max(values)
    if all(float(value).is_integer() for value in values) and high - low < MOST_BINS:
        return np.arange(low, high + 2) - 0.5
    bins = min(MOST_BINS, max(5, round(len(values) ** 0.5)))
    return np.linspace(low, high, bins + 1) if high > low else np.array([low - 0.5, low + 0.5])
