"""The style of the charts: colours with contrast on white and near-black, layout, escaping of text from the data."""

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from itertools import cycle
from math import log10
from typing import Any, NamedTuple

import plotly.graph_objects as go

from probe.report.figures.chart import Subject


class Style(NamedTuple):
    """The style of one curve.

    Colours follow Okabe and Ito, with a contrast of 3:1 on white and near-black; dash and symbol also tell them apart.
    """

    color: str
    band: str
    dash: str
    symbol: str


STYLES = {
    "visual": Style("#1A80C4", "rgba(26,128,196,.2)", "solid", "circle"),
    "text": Style("#D55E00", "rgba(213,94,0,.18)", "dash", "square"),
    "release": Style("#6C7A89", "rgba(108,122,137,.18)", "dashdot", "cross"),
    "joint": Style("#009E73", "rgba(0,158,115,.18)", "dot", "diamond"),
    "KL": Style("#9A5BB5", "rgba(154,91,181,.18)", "solid", "circle"),
}
MODELS = ("#1A80C4", "#D55E00", "#009E73", "#9A5BB5", "#8C7300", "#BF4F86")
"""Colours of the models in a comparison, used in a cycle."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "pentagon", "hexagon")
INK = "#787F87"
"""Colour of thresholds, intervals and other marks that are not data; the page sets the colour of text."""


def model_styles() -> Iterator[Style]:
    """Styles for one model after the other, without end."""
    for color, symbol in cycle(zip(MODELS, SYMBOLS, strict=True)):
        yield Style(color, "rgba(0,0,0,0)", "solid", symbol)


def escaped(text: str) -> str:
    """Escape text from the data, so that plotly shows it literally instead of interpreting tags and %{...}."""
    return escape(text, quote=False).replace("%{", "%&#123;")


def model_names(subjects: Sequence[Subject]) -> list[str]:
    """A short, unique name for each subject: the last part of the model's path, numbered if it occurs twice."""
    names = [subject.profile.provenance.model_id.rstrip("/").rsplit("/", 1)[-1] for subject in subjects]
    counts, seen = Counter(names), Counter[str]()
    for index, name in enumerate(names):
        seen[name] += 1
        names[index] = f"{name} ({seen[name]})" if counts[name] > 1 else name
    return names


def apply_layout(figure: go.Figure, *, height: int, top: int = 24, bottom: int = 48) -> None:
    """Apply the common layout: transparent, without title, with the legend below the plot."""
    below = {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "xref": "container", "x": 0}
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 58, "r": 16, "t": top, "b": bottom},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"namelength": -1},
        legend=below,
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": "#808890", "activecolor": "#0072B2"},
    )
    figure.update_xaxes(gridcolor="rgba(128,128,128,.2)", zeroline=False, automargin=True, title_standoff=6)
    figure.update_yaxes(gridcolor="rgba(128,128,128,.2)", zeroline=False, automargin=True, title_standoff=8)


def log_axis(lowest: float, highest: float) -> dict[str, Any]:
    """Settings of a log axis with about five labelled powers of ten."""
    step = max(1, round((log10(max(highest, lowest)) - log10(lowest)) / 5))
    return {"type": "log", "exponentformat": "power", "dtick": step, "tickfont": {"size": 10}}
