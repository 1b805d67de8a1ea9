"""HalfV's and VisiPruner's stages on one layer axis, with what VisiPruner's stages are made from.

The page recomputes the figure when a reader moves a threshold (`parts/two_stories.js`), by the rules of
`probe.analyzers.visipruner_stages`.
"""

from collections.abc import Iterator, Sequence
from math import floor, log10
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from probe.analysis.records import Analysis
from probe.analyzers.findings import Array, SampleTable
from probe.analyzers.visipruner_stages import (
    EXIT_ABOVE,
    EXIT_LAYERS,
    FILTER_BELOW,
    exit_layers,
    filter_layers,
    first_asked,
)
from probe.report.figures import STYLES, Cell, Table
from probe.report.figures._stages import shade_stages
from probe.report.figures._style import INK, apply_layout
from probe.report.labels import stage_spans

PROBE, FINDING = "contribution", "min_cosines"
"""The probe and its `SampleTable` that hold each sample's smallest cosine similarity at each layer."""
TITLE = "HalfV's and VisiPruner's stages"
QUESTION = "Where do two ways to find the stages of visual information agree?"
ONE_TITLE = "VisiPruner's stages"
ONE_QUESTION = "Where do visual tokens begin to matter to the last prompt token, and where do they stop?"
"""Without a profile."""
HALFV = "The tints and the upper bar are HalfV's stages, from the profile. "
CAPTION = (
    "The bar of VisiPruner's stages is split at the median layers of its filter (a visual token matters for the first "
    "time) and of its exit (none has mattered at so many layers since); their histograms over the samples are below. "
    "Both come from the curve: the smallest cosine similarity of the last prompt token's attention output with and "
    "without one visual token, as the median of the samples with bands of the middle half and of all but a tenth at "
    "either end. Its axis shows the distance from 1 in powers of ten."
)
COLORS = {"I": "#8c959f", "II": "#c98700", "III": "#3a8fc7"}
"""Of a stage in either story; text on them is dark."""
NAMES = {"I": "shallow", "II": "middle", "III": "deep"}
"""VisiPruner's stages by the numerals of those of HalfV that they would be."""
DARK = "#14171c"
LOWEST = 1e-6
"""Distance from 1 at which larger cosine similarities are drawn; float32 does not tell them from 1."""
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


class Rules(NamedTuple):
    """When VisiPruner filters visual tokens, and when it drops the rest; by default as published."""

    first: int
    """First layer that is asked."""
    filter_below: float = FILTER_BELOW
    exit_from: float = EXIT_ABOVE
    votes: int = EXIT_LAYERS
    """Layers after the filter that have to reach `exit_from`."""


class Split(NamedTuple):
    """VisiPruner's stages; the number of layers stands for never."""

    filters: list[int]
    """The filter layer of each sample."""
    exits: list[int]
    middle: int
    """First layer of the middle stage: the lower median of the filter layers."""
    deep: int
    """First layer of the deep stage: the one after the lower median of the exit layers."""


class TwoStories(NamedTuple):
    """What the page shows of VisiPruner's stages."""

    title: str
    question: str
    caption: str
    layers: int
    samples: int
    rules: Rules
    cosines: SampleTable
    figure: go.Figure
    table: Table
    halfv: tuple[int, int] | None
    """Where HalfV's Stages II and III begin, the number of layers for never; None without a profile."""

    def position(self, threshold: str) -> int:
        """Of a threshold's slider, whose steps are a hundredth of a power of ten in the distance from 1."""
        return round(-100 * log10(1 - getattr(self.rules, threshold)))


def two_stories(analysis: Analysis) -> TwoStories | None:
    """What there is to show; None if the probe did not run."""
    finding = next(
        (
            finding
            for result in analysis.results
            for finding in result.findings
            if (result.name, finding.name) == (PROBE, FINDING)
        ),
        None,
    )
    if not isinstance(finding, SampleTable) or finding.axis != "layers":
        return None
    rules = Rules(first_asked(analysis.layers))
    found = split(finding.values, rules)
    stages = analysis.stages
    third = analysis.layers if stages is None or stages.saturation_start is None else stages.saturation_start
    distances = np.quantile(np.clip(1 - np.array(finding.values), LOWEST, None), QUANTILES, axis=0)
    return TwoStories(
        title=ONE_TITLE if stages is None else TITLE,
        question=ONE_QUESTION if stages is None else QUESTION,
        caption=CAPTION if stages is None else HALFV + CAPTION,
        layers=analysis.layers,
        samples=len(finding.values),
        rules=rules,
        cosines=finding,
        figure=_figure(analysis, found, rules, distances),
        table=Table(
            ("layer", "filter", "exit", "10 %", "median", "90 %"), tuple(_rows(finding, found, analysis.layers))
        ),
        halfv=None if stages is None else (stages.aggregation_start, third),
    )


def split(cosines: Sequence[Sequence[float]], rules: Rules) -> Split:
    """VisiPruner's stages from the smallest cosine similarities, (samples, L), of at least one sample."""
    rows = np.array(cosines)
    filters = filter_layers(rows, below=rules.filter_below, first=rules.first)
    exits = exit_layers(rows, filters, above=rules.exit_from, layers=rules.votes)
    middle, left = (int(np.quantile(layers, 0.5, method="lower")) for layers in (filters, exits))
    return Split(filters.tolist(), exits.tolist(), middle, min(left + 1, rows.shape[1]))


def counts(layers: Sequence[int], of: int) -> list[int]:
    """How many samples have each of `of` layers, and at the end how many have none."""
    return [int(count) for count in np.bincount(layers, minlength=of + 1)]


def _rows(finding: SampleTable, found: Split, layers: int) -> Iterator[tuple[Cell, ...]]:
    quantiles = np.quantile(np.array(finding.values), (0.1, 0.5, 0.9), axis=0).T.tolist()
    for layer, (filtered, left) in enumerate(
        zip(counts(found.filters, layers), counts(found.exits, layers), strict=True)
    ):
        if layer < layers:
            yield (layer, filtered, left, *quantiles[layer])
        else:
            yield ("never", filtered, left, None, None, None)


def _figure(analysis: Analysis, found: Split, rules: Rules, distances: Array) -> go.Figure:
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
    fig.update_layout(barmode="group", bargap=0.1, hovermode="closest", uniformtext={"mode": "hide", "minsize": 10})


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
