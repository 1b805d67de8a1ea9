"""Charts of `ScatterPoints`: the points of one layer at a time, chosen by a slider."""

from collections.abc import Sequence
from math import log10
from typing import NamedTuple

import plotly.graph_objects as go

from probe.analyzers.findings import ScatterPoints
from probe.report.figures._style import MODELS, apply_layout, escaped
from probe.report.findings.chart import LOG_FROM, Depth, FindingChart, wrapped

TITLE_WIDTH = 34
"""Characters of an axis title in one line."""
CELLS = 50
"""Points of a layer that share a cell of a grid of so many columns and rows are drawn once: they would cover each
other."""


def chart(finding: ScatterPoints, depth: Depth) -> FindingChart:
    """One chart; its many points have no table."""
    layers = sorted(set(finding.layers))
    return FindingChart(
        name=finding.name,
        title=finding.title,
        caption="One layer at a time. Points that would lie on one another are drawn once; the analysis has all.",
        summary=f"{len(finding.x)} points of {len(layers)} layers: {finding.x_title} against {finding.y_title}.",
        figure=_figure(finding, layers),
        table=None,
    )


def _figure(finding: ScatterPoints, layers: Sequence[int]) -> go.Figure:
    across, along = _Axis.of(finding.x), _Axis.of(finding.y)
    shown = layers[len(layers) // 2] if layers else None
    fig = go.Figure()
    for layer, points in _apart(finding, across, along).items():
        labels = [escaped(finding.labels[point]) for point in points] if finding.labels else None
        x_title, y_title = escaped(finding.x_title), escaped(finding.y_title)
        fig.add_scatter(
            name=f"layer {layer}",
            x=[finding.x[point] for point in points],
            y=[finding.y[point] for point in points],
            text=labels,
            mode="markers",
            marker={"color": MODELS[0], "size": 7, "opacity": 0.6, "line": {"width": 0}},
            visible=layer == shown,
            hovertemplate=f"{'%{text}<br>' if labels else ''}{x_title} %{{x:.3g}}<br>{y_title} %{{y:.3g}}"
            "<extra></extra>",
        )
    across_title, along_title = (wrapped(title, TITLE_WIDTH) for title in (finding.x_title, finding.y_title))
    below = 52 + 18 * across_title.count("<br>")
    apply_layout(fig, height=348 + below, top=16, bottom=below)
    fig.update_layout(hovermode="closest", showlegend=False)
    fig.update_xaxes(title_text=across_title, **across.layout)
    fig.update_yaxes(title_text=along_title, **along.layout)
    if len(layers) > 1:
        steps = [
            {"label": str(layer), "method": "restyle", "args": [{"visible": [one == layer for one in layers]}]}
            for layer in layers
        ]
        slider = {"steps": steps, "active": layers.index(shown), "currentvalue": {"prefix": "layer "}, "pad": {"t": 40}}
        fig.update_layout(sliders=[slider])
    return fig


class _Axis(NamedTuple):
    """One axis, the same for all layers."""

    is_log: bool
    """Logarithmic where positive values differ widely."""
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "_Axis":
        """With a margin at both ends."""
        low, high = min(values, default=0.0), max(values, default=1.0)
        is_log = low > 0 and high > LOG_FROM * low
        if is_log:
            low, high = log10(low), log10(high)
        margin = 0.04 * (high - low) or 0.5
        return cls(is_log, low - margin, high + margin)

    @property
    def layout(self) -> dict[str, object]:
        """Settings of plotly's axis."""
        kind = {"type": "log", "exponentformat": "power", "dtick": 1} if self.is_log else {"type": "linear"}
        return {**kind, "range": [self.low, self.high]}

    def cell(self, value: float) -> int:
        """Where a value lies on a grid over the plot."""
        return int(CELLS * ((log10(value) if self.is_log else value) - self.low) / (self.high - self.low))


def _apart(finding: ScatterPoints, across: _Axis, along: _Axis) -> dict[int, list[int]]:
    """Layer -> its points, one for each cell of the plot; layers in order."""
    cells: dict[int, dict[tuple[int, int], int]] = {layer: {} for layer in sorted(set(finding.layers))}
    for point, (layer, x, y) in enumerate(zip(finding.layers, finding.x, finding.y, strict=True)):
        cells[layer].setdefault((across.cell(x), along.cell(y)), point)
    return {layer: list(found.values()) for layer, found in cells.items()}
