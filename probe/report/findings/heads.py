"""Charts of `HeadMap`: a heat map of layers and heads, whose heads and layers can be sorted by size."""

from collections.abc import Sequence

import plotly.graph_objects as go

from probe.analyzers.findings import HeadMap
from probe.report.figures import Table
from probe.report.figures._controls import Change, add_buttons
from probe.report.figures._stages import LABEL_HEIGHT
from probe.report.figures._style import escaped
from probe.report.findings.chart import BESIDE, Depth, FindingChart, draw_boundaries, heat_scale, over_layers, with_unit

Cells = list[list[float]]
BY_HEAD, SORTED, BY_LARGEST = "by head", "heads sorted", "layers sorted"
MAX_TICKS = 16
"""Most layers that are named below the map when they are not in order."""


def chart(finding: HeadMap, depth: Depth) -> FindingChart:
    """One map."""
    layers, heads = len(finding.mean), len(finding.mean[0])
    value, layer, head = max(
        (value, layer, head) for layer, row in enumerate(finding.mean) for head, value in enumerate(row)
    )
    return FindingChart(
        name=finding.name,
        title=finding.title,
        caption=(
            "Each cell is a head, mean over the samples. Sorting the heads puts the largest of each layer on top; "
            "sorting the layers, too, puts the layer with the largest one first."
        ),
        summary=f"{layers} layers of {heads} heads; the largest is head {head} of layer {layer}, "
        f"{with_unit(value, finding)}.",
        figure=_figure(finding, depth),
        table=Table(("layer", *(f"head {head}" for head in range(heads))), tuple(_rows(finding.mean))),
    )


def _rows(mean: Sequence[Sequence[float]]) -> list[tuple[float, ...]]:
    return [(layer, *row) for layer, row in enumerate(mean)]


def _figure(finding: HeadMap, depth: Depth) -> go.Figure:
    layers, heads = len(finding.mean), len(finding.mean[0])
    plain = [list(range(heads)) for _ in finding.mean]
    by_size = [sorted(heads, key=row.__getitem__) for heads, row in zip(plain, finding.mean, strict=True)]
    in_order = list(range(layers))
    by_largest = sorted(in_order, key=lambda layer: max(finding.mean[layer]), reverse=True)
    z, where = _arranged(finding, in_order, plain)
    unit = f" {escaped(finding.unit)}" if finding.unit else ""
    fig = go.Figure(
        go.Heatmap(
            z=z,
            customdata=where,
            hovertemplate=f"layer %{{customdata[0]}}, head %{{customdata[1]}}: %{{z:.3g}}{unit}<extra></extra>",
            **heat_scale(finding.mean),
        )
    )
    over_layers(fig, depth, "layers", height=170 + min(520, max(120, 13 * heads)), bottom=48)
    draw_boundaries(fig, depth)
    fig.update_yaxes(title_text="head", range=[-0.5, heads - 0.5])
    fig.update_layout(hovermode="closest", meta={"beside": BESIDE})
    choices = {
        BY_HEAD: _change(fig, finding, in_order, plain, "head"),
        SORTED: _change(fig, finding, in_order, by_size, "heads, largest on top"),
        BY_LARGEST: _change(fig, finding, by_largest, by_size, "heads, largest on top"),
    }
    add_buttons(fig, choices, active=BY_HEAD, count=1, rise=LABEL_HEIGHT if depth.stages else 8)
    return fig


def _arranged(
    finding: HeadMap, layers: Sequence[int], heads: Sequence[Sequence[int]]
) -> tuple[Cells, list[list[list[int]]]]:
    """Values, and layer and head of each cell, as rows from the bottom up; `heads` of a layer likewise."""
    rows = range(len(heads[0]))
    values = [[finding.mean[layer][heads[layer][row]] for layer in layers] for row in rows]
    return values, [[[layer, heads[layer][row]] for layer in layers] for row in rows]


def _change(
    fig: go.Figure, finding: HeadMap, layers: Sequence[int], heads: Sequence[Sequence[int]], title: str
) -> Change:
    values, where = _arranged(finding, layers, heads)
    ordered = list(layers) == sorted(layers)
    step = -(-len(layers) // MAX_TICKS)
    shown = list(range(0, len(layers), step))
    ticks = {"xaxis.tickmode": "auto"} if ordered else {"xaxis.tickmode": "array", "xaxis.tickvals": shown}
    marks = [*(f"shapes[{index}].visible" for index in range(len(fig.layout.shapes)))]
    marks += [f"annotations[{index}].visible" for index in range(len(fig.layout.annotations))]
    return Change(
        {"z": [values], "customdata": [where]},
        {
            **ticks,
            "xaxis.ticktext": [str(layers[place]) for place in shown],
            "xaxis.title.text": "layer" if ordered else "layer, largest first",
            "yaxis.title.text": title,
            # A head's number means nothing where heads are sorted.
            "yaxis.showticklabels": title == "head",
            **dict.fromkeys(marks, ordered),
        },
    )
