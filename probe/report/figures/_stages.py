"""Draws the stages into a figure: tinted spans with labels, and the 90 % intervals of their starts."""

import plotly.graph_objects as go

from halfv_core.profile import Profile
from halfv_core.records import BoundaryUncertainty, Stages
from probe.calibration.certainty import interval_label
from probe.report.figures._style import INK
from probe.report.labels import stage_spans

TINTS = {"I": "rgba(128,128,128,.14)", "II": "rgba(230,159,0,.16)", "III": "rgba(86,180,233,.18)"}
LABEL_HEIGHT = 62
"""Height of the stage labels above the plot, pixels."""


def shade_stages(figure: go.Figure, stages: Stages, layers: int, *, points: int) -> None:
    """Tint the stages over `points` layers; the page shortens labels that do not fit to the numeral in `name`."""
    for span in stage_spans(stages, layers):
        last = points - 1 if span.last == layers - 1 else span.last
        left, right = span.first - 0.5, last + 0.5
        figure.add_vrect(x0=left, x1=right, fillcolor=TINTS[span.numeral], line_width=0, layer="below")
        figure.add_annotation(
            name=span.numeral,
            text=f"<b>{span.numeral}</b><br>{span.name}<br>{span.layers}",
            x=(left + right) / 2,
            y=1.0,
            yref="paper",
            yanchor="bottom",
            showarrow=False,
        )


def add_intervals(figure: go.Figure, profile: Profile) -> None:
    """Draw the chosen start of each stage with its 90 % interval along the lower edge.

    Call this after the layout is applied, since it adds a second vertical axis.
    """
    uncertainty = profile.uncertainty
    if uncertainty is None:
        return
    starts = (
        ("II", profile.stages.aggregation_start, uncertainty.aggregation_start),
        ("III", profile.stages.saturation_start, uncertainty.saturation_start),
    )
    bars = [(numeral, start, *_ends(start, interval, profile.layers), interval) for numeral, start, interval in starts]
    bars = [bar for bar in bars if bar[1] is not None]
    figure.add_scatter(
        name="start, 90 % interval",
        x=[start for _, start, *_ in bars],
        y=[0.04 if numeral == "II" else 0.1 for numeral, *_ in bars],
        yaxis="y2",
        error_x={
            "array": [high - start for _, start, _, high, _ in bars if start is not None],
            "arrayminus": [start - low for _, start, low, _, _ in bars if start is not None],
            "color": INK,
            "thickness": 3,
            "width": 6,
        },
        mode="markers",
        marker={"symbol": "diamond", "size": 10, "color": INK},
        text=[
            f"Stage {numeral} from layer {start}, 90 % interval {interval_label(interval.low, interval.high)}"
            for numeral, start, _, _, interval in bars
        ],
        hovertemplate="%{text}<extra></extra>",
    )
    hidden = {"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True}
    figure.update_layout(yaxis2=hidden)


def _ends(start: int | None, interval: BoundaryUncertainty, layers: int) -> tuple[int, int]:
    """The interval's ends on the axis, extended to include the chosen layer; "none" is at the right edge."""
    low, high = (layers if end is None else end for end in (interval.low, interval.high))
    return (low, high) if start is None else (min(low, start), max(high, start))
