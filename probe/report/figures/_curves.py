"""Curves over layers as plotly traces: the mean with its standard deviation, on a chosen scale."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from halfv_core.profile import Curve
from probe.report.figures._style import Style


class Scale(NamedTuple):
    """The mapping of values to the vertical axis: (max(value, floor) - shift) / unit."""

    shift: float = 0.0
    unit: float = 1.0
    floor: float = -math.inf

    def of(self, values: Sequence[float]) -> list[float]:
        """The positions of the values on the axis."""
        return [(max(value, self.floor) - self.shift) / self.unit for value in values]


def z_score(curve: Curve) -> Scale:
    """The scale on which the curve has mean 0 and standard deviation 1 over the layers; a constant curve becomes 0."""
    mean = sum(curve.mean) / len(curve.mean)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in curve.mean) / len(curve.mean))
    return Scale(shift=mean, unit=deviation if deviation > 1e-12 else 1.0)


def x_positions(points: int, layers: int, depth: bool) -> list[float]:
    """Horizontal positions of the points of a curve: layers, or percentages of the depth."""
    return [100 * index / layers if depth else index for index in range(points)]


def line(name: str, curve: Curve, x: Sequence[float], style: Style, scale: Scale, number: str) -> go.Scatter:
    """The mean as a line; hovering shows unscaled mean and standard deviation in the format `number`."""
    return go.Scatter(
        name=name,
        x=list(x),
        y=scale.of(curve.mean),
        customdata=list(zip(range(len(curve.mean)), curve.mean, curve.std, strict=True)),
        mode="lines+markers",
        line={"color": style.color, "dash": style.dash, "width": 2},
        marker={"symbol": style.symbol, "size": 6},
        legendgroup=name,
        hovertemplate=f"%{{customdata[1]:{number}}} ± %{{customdata[2]:{number}}} nats",
    )


def band(name: str, curve: Curve, x: Sequence[float], style: Style, scale: Scale) -> go.Scatter:
    """One standard deviation on either side of the mean, as a filled area."""
    above = [mean + std for mean, std in zip(curve.mean, curve.std, strict=True)]
    below = [mean - std for mean, std in zip(curve.mean, curve.std, strict=True)]
    return go.Scatter(
        x=[*x, *reversed(x)],
        y=scale.of(above) + scale.of(below)[::-1],
        fill="toself",
        fillcolor=style.band,
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        legendgroup=name,
        showlegend=False,
    )


def sample_lines(curves: Sequence[Sequence[float]], style: Style, scale: Scale, *, legend: bool) -> go.Scatter:
    """The curves of single samples, hidden until chosen in the legend.

    They are one trace with a gap after each, since one trace per sample would be slow.
    """
    x: list[float | None] = []
    y: list[float | None] = []
    for curve in curves:
        x += [*range(len(curve)), None]
        y += [*scale.of(curve), None]
    return go.Scatter(
        name="single samples",
        legendgroup="single samples",
        showlegend=legend,
        x=x,
        y=y,
        mode="lines",
        line={"color": style.color, "width": 0.8},
        opacity=0.45,
        visible="legendonly",
        hoverinfo="skip",
    )
