"""Curves along depth as traces: the mean with its spread, on the scale that a reader has chosen."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from halfv_core.profile import Curve
from probe.report.figures._style import Style


class Scale(NamedTuple):
    """Where a curve's values go on the vertical axis: (value - shift) / unit, not below `floor`."""

    shift: float = 0.0
    unit: float = 1.0
    floor: float = -math.inf

    def of(self, values: Sequence[float]) -> list[float]:
        """Each value on the axis."""
        return [(max(value, self.floor) - self.shift) / self.unit for value in values]


def z_score(curve: Curve) -> Scale:
    """Mean 0 and standard deviation 1 over the layers; a constant curve is 0 everywhere."""
    mean = sum(curve.mean) / len(curve.mean)
    deviation = math.sqrt(sum((value - mean) ** 2 for value in curve.mean) / len(curve.mean))
    return Scale(shift=mean, unit=deviation if deviation > 1e-12 else 1.0)


def x_positions(points: int, layers: int, depth: bool) -> list[float]:
    """Where the points of a curve stand: layers, or percent of the depth."""
    return [100 * index / layers if depth else index for index in range(points)]


def line(name: str, curve: Curve, x: Sequence[float], style: Style, scale: Scale, number: str) -> go.Scatter:
    """The mean; whatever the scale, hovering gives mean and spread as measured, in `number` format."""
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
    """One standard deviation to both sides."""
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
