"""Charts of `StateMatrix`: a square heat map over pairs of hidden states, with a button for each group."""

from collections.abc import Sequence

import plotly.graph_objects as go

from probe.analyzers.findings import StateMatrix
from probe.report.figures import Cell, Table
from probe.report.figures._controls import Change, add_buttons
from probe.report.figures._stages import LABEL_HEIGHT
from probe.report.figures._style import escaped
from probe.report.findings.chart import (
    BESIDE,
    TOP,
    Depth,
    FindingChart,
    draw_boundaries,
    heat_scale,
    number,
    over_layers,
)

SIDE = 430
"""Largest side of the square, pixels."""


def chart(found: Sequence[StateMatrix], depth: Depth) -> FindingChart:
    """One chart of matrices that share title and unit."""
    first = found[0]
    return FindingChart(
        name=first.name,
        title=first.title,
        caption="Each cell is a pair of hidden states, mean over the samples. Dashed lines are where stages begin.",
        summary=" ".join(map(_summary, found)),
        figure=_figure(found, depth),
        table=_table(found),
    )


def _summary(matrix: StateMatrix) -> str:
    values = [value for row in matrix.mean for value in row]
    name = f"{matrix.group}: " if matrix.group else ""
    return f"{name}{number(min(values))} to {number(max(values))}, {number(matrix.mean[0][-1])} from first to last."


def _figure(found: Sequence[StateMatrix], depth: Depth) -> go.Figure:
    first = found[0]
    unit = f" {escaped(first.unit)}" if first.unit else ""
    scale = heat_scale([row for matrix in found for row in matrix.mean])
    fig = go.Figure(
        go.Heatmap(z=first.mean, hovertemplate=f"%{{y}} and %{{x}}: %{{z:.3g}}{unit}<extra></extra>", **scale)
    )
    top = TOP if depth.stages else 28
    over_layers(fig, depth, "states", height=top + SIDE + 52, bottom=52)
    draw_boundaries(fig, depth, both=True)
    square = {"scaleanchor": "x", "constrain": "domain", "constraintoward": "bottom"}
    fig.update_yaxes(title_text="input of layer", range=[-0.5, len(first.mean) - 0.5], **square)
    fig.update_xaxes(constrain="domain", constraintoward="left")
    fig.update_layout(hovermode="closest", meta={"aspect": 1.0, "beside": BESIDE, "widest": SIDE + BESIDE + 74})
    if len(found) > 1:
        choices = {matrix.group or matrix.name: Change({"z": [matrix.mean]}, {}) for matrix in found}
        active = next(iter(choices))
        add_buttons(fig, choices, active=active, count=1, rise=LABEL_HEIGHT if depth.stages else 8)
    return fig


def _table(found: Sequence[StateMatrix]) -> Table:
    points = len(found[0].mean)
    rows: list[tuple[Cell, ...]] = [
        (*([matrix.group] if len(found) > 1 else []), layer, *row)
        for matrix in found
        for layer, row in enumerate(matrix.mean)
    ]
    return Table((*(["group"] if len(found) > 1 else []), "input of layer", *map(str, range(points))), tuple(rows))
