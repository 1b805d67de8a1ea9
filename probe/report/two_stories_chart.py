"""The figure of both stories on one layer axis: bars of stages, histograms of VisiPruner's layers, and their curve."""

from collections.abc import Iterator, Sequence
from math import floor, log10
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from probe.analysis.records import Analysis
from probe.analyzers.findings import Array
from probe.report.figures import STYLES
from probe.report.figures._stages import shade_stages
from probe.report.figures._style import INK, apply_layout
from probe.report.labels import stage_spans
from probe.report.two_stories_rules import Rules, Split, counts

COLORS = {"I": "#8c959f", "II": "#c98700", "III": "#3a8fc7"}
"""Of a stage in either story; text on them is dark."""
NAMES = {"I": "shallow", "II": "middle", "III": "deep"}
"""VisiPruner's stages by the numerals of those of HalfV that they would be."""
DARK = "#14171c"
LOWEST = 1e-6
"""Distance from 1 at which larger cosine similarities are drawn; float32 does not tell them from 1."""
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


def figure(analysis: Analysis, cosines: Sequence[Sequence[float]], found: Split, rules: Rules) -> go.Figure:
    """The figure under some rules.

    Args:
        cosines: (samples, L).
        found: the stages under these rules.
    """
    distances = np.quantile(np.clip(1 - np.array(cosines), LOWEST, None), QUANTILES, axis=0)
    layers, stages = analysis.layers, analysis.stages
    fig = make_subplots(
        rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.04, row_heights=[0.16 if stages else 0.1, 0.27, 0.57]
    )
    if stages is not None:
        spans = [(span.numeral, span.name, span.first, span.last + 1) for span in stage_spans(stages, layers)]
        fig.add_trace(_bar("HalfV", spans), 1, 1)
    starts = (0, found.middle, found.deep, layers)
    parts = [(numeral, name, starts[at], starts[at + 1]) for at, (numeral, name) in enumerate(NAMES.items())]
    fig.add_trace(_bar("VisiPruner", parts), 1, 1)
    fig.add_trace(_histogram("filter", counts(found.filters, layers), "II"), 2, 1)
    fig.add_trace(_histogram("exit", counts(found.exits, layers), "III"), 2, 1)
    for trace in _curve(distances):
        fig.add_trace(trace, 3, 1)
    for trace in _thresholds(rules, layers):
        fig.add_trace(trace, 3, 1)
    if stages is not None:
        shade_stages(fig, stages, layers, points=layers)
    apply_layout(fig, height=560, top=72 if stages else 20, bottom=72)
    _lay_out(fig, layers, float(distances.max()))
    return fig


def _lay_out(fig: go.Figure, layers: int, highest: float) -> None:
    step = -(-layers // 8)
    ticks = [*range(0, layers - step // 2, step), layers]
    fig.update_xaxes(range=[-0.5, layers + 0.5], tickmode="array", tickvals=ticks, ticktext=[*ticks[:-1], "never"])
    fig.update_xaxes(title_text="layer", row=3, col=1)
    fig.update_yaxes(autorange="reversed", showgrid=False, row=1, col=1)
    fig.update_yaxes(title_text="samples", rangemode="tozero", tickformat="d", nticks=4, row=2, col=1)
    powers = range(floor(log10(LOWEST)), 1)
    fig.update_yaxes(
        type="log",
        # From the lowest cosine similarity at the bottom to 1 at the top.
        range=[log10(max(highest, 0.02)) + 0.1, log10(LOWEST) - 0.1],
        tickvals=[10.0**power for power in powers],
        ticktext=["1" if power == powers[0] else f"{1 - 10.0**power:.6g}" for power in powers],
        title_text="smallest cosine",
        row=3,
        col=1,
    )
    fig.update_layout(barmode="group", bargap=0.1, hovermode="closest")


def _bar(story: str, parts: Sequence[tuple[str, str, int, int]]) -> go.Bar:
    """The stages of one story: numeral, name, first layer, and the layer after its last."""
    return go.Bar(
        name=story,
        meta=story,
        orientation="h",
        y=[story] * len(parts),
        base=[first - 0.5 for _, _, first, _ in parts],
        x=[end - first for _, _, first, end in parts],
        text=[name for _, name, _, _ in parts],
        customdata=[[first, end - 1] for _, _, first, end in parts],
        textposition="inside",
        insidetextanchor="middle",
        textangle=0,
        textfont={"color": DARK},
        marker={"color": [COLORS[numeral] for numeral, *_ in parts], "line": {"width": 1, "color": DARK}},
        width=0.8,
        showlegend=False,
        hovertemplate=f"{story}: %{{text}}, layers %{{customdata[0]}} to %{{customdata[1]}}<extra></extra>",
    )


def _histogram(rule: str, samples: Sequence[int], numeral: str) -> go.Bar:
    shape = "/" if rule == "exit" else ""
    pattern = {"shape": shape, "fillmode": "overlay", "fgcolor": DARK, "size": 6, "solidity": 0.2}
    return go.Bar(
        name=f"{rule} layer",
        meta=rule,
        x=list(range(len(samples))),
        y=list(samples),
        marker={"color": COLORS[numeral], "pattern": pattern, "line": {"width": 0}},
        hovertemplate="%{y} samples<extra>%{fullData.name} %{x}</extra>",
    )


def _curve(distances: Array) -> Iterator[go.Scatter]:
    x = list(range(distances.shape[1]))
    purple = STYLES["KL"]
    for low, high, name in ((0, 4, "10 % to 90 %"), (1, 3, "25 % to 75 %")):
        yield go.Scatter(
            x=[*x, *reversed(x)],
            y=[*distances[high].tolist(), *reversed(distances[low].tolist())],
            name=name,
            fill="toself",
            fillcolor="rgba(154,91,181,.12)" if low == 0 else purple.band,
            mode="lines",
            line={"width": 0},
            hoverinfo="skip",
        )
    yield go.Scatter(
        x=x,
        y=distances[2].tolist(),
        customdata=(1 - distances[2]).tolist(),
        name="median",
        mode="lines+markers",
        line={"color": purple.color, "width": 2},
        marker={"size": 6},
        hovertemplate="layer %{x}: %{customdata:.5f}<extra></extra>",
    )


def _thresholds(rules: Rules, layers: int) -> Iterator[go.Scatter]:
    """Lines that the page moves: the two thresholds, and the first layer that is asked."""
    style: dict[str, Any] = {"color": INK, "width": 1.5}
    for field, dash, name in (("filter_below", "dash", "filter below"), ("exit_from", "dot", "exit from")):
        threshold = getattr(rules, field)
        yield go.Scatter(
            meta=field,
            x=[-0.5, layers + 0.5],
            y=[1 - threshold] * 2,
            text=["", f"{name} {threshold:g}"],
            textposition="bottom left" if field == "filter_below" else "top left",
            mode="lines+markers+text",
            marker={"size": 9, "opacity": 0},  # keeps the text off the line
            line=style | {"dash": dash},
            showlegend=False,
            hoverinfo="skip",
        )
    yield go.Scatter(
        meta="first",
        x=[rules.first - 0.5] * 2,
        y=[2.0, LOWEST / 2],
        mode="lines",
        line=style | {"width": 1},
        showlegend=False,
        hoverinfo="skip",
    )
