"""The parts of a chart of findings, and what all of these charts have in common."""

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from halfv_core.records import Stages
from probe.analyzers.findings import Axis, Finding
from probe.report.figures import Table
from probe.report.figures._stages import shade_stages
from probe.report.figures._style import INK, apply_layout, escaped
from probe.report.labels import stage_spans

TOP = 72
"""Space above the plot for the stages' labels, pixels."""
HEAT = "Cividis"
SIGNED_HEAT = "PuOr_r"
"""Colour scales that colour-blind readers can tell apart too, for values of one sign and of both."""
BESIDE = 80
"""Width of a colour bar with its numbers, pixels."""
LOG_FROM = 100.0
"""Ratio of the largest to the smallest positive value from which a logarithmic axis is worth having."""


class Depth(NamedTuple):
    """The axis that charts share."""

    layers: int
    """Number of decoder layers."""
    stages: Stages | None
    """HalfV's, drawn behind what is over layers."""


class FindingChart(NamedTuple):
    """A chart of one finding, or of several that belong together."""

    name: str
    """Of its first finding."""
    title: str
    caption: str
    summary: str
    """Its main numbers in one sentence, for those who do not see the figure."""
    figure: go.Figure
    table: Table | None


def over_layers(figure: go.Figure, depth: Depth, axis: Axis, *, height: int, bottom: int = 64) -> None:
    """Lay out a figure over layers or hidden states, with the stages behind it."""
    points = depth.layers + (axis == "states")
    if depth.stages is not None:
        shade_stages(figure, depth.stages, depth.layers, points=points)
    apply_layout(figure, height=height, top=TOP if depth.stages else 28, bottom=bottom)
    figure.update_xaxes(title_text=axis_title(axis), range=[-0.5, points - 0.5])


def axis_title(axis: Axis) -> str:
    """What a point of the axis is."""
    return "input of layer" if axis == "states" else "layer"


def value_title(finding: Finding) -> str:
    """The unit as an axis title, escaped."""
    return escaped(finding.unit)


def boundaries(depth: Depth) -> list[int]:
    """The layers at which a stage begins, without the first layer."""
    spans = stage_spans(depth.stages, depth.layers) if depth.stages is not None else []
    return [span.first for span in spans if span.first > 0]


def draw_boundaries(figure: go.Figure, depth: Depth, *, both: bool = False) -> None:
    """Dashed lines where stages begin, on top of a heat map, which hides what is shaded behind it."""
    line = {"color": INK, "dash": "dash", "width": 1.5}
    for layer in boundaries(depth):
        figure.add_vline(layer - 0.5, line=line)
        if both:
            figure.add_hline(layer - 0.5, line=line)


def heat_scale(values: Sequence[Sequence[float]]) -> dict[str, object]:
    """Colours for a heat map: around 0 for values of both signs, otherwise from the lowest to the highest."""
    low, high = min(map(min, values)), max(map(max, values))
    bar = {"thickness": 12, "nticks": 6, "tickformat": ".3~g", "outlinewidth": 0}
    if low < 0 < high:
        end = max(-low, high)
        return {"colorscale": SIGNED_HEAT, "zmin": -end, "zmax": end, "colorbar": bar}
    return {"colorscale": HEAT, "zmin": low, "zmax": high, "colorbar": bar}


def wrapped(text: str, width: int) -> str:
    """Text in lines of so many characters, escaped, for labels that would not fit a phone."""
    return "<br>".join(map(escaped, textwrap.wrap(text, width))) or " "


def number(value: float) -> str:
    """Three significant digits."""
    return f"{value:.3g}"


def with_unit(value: float, finding: Finding) -> str:
    """A number with the finding's unit."""
    return f"{value:.3g} {finding.unit}".strip()
