"""The starts of the stages in bootstrap resamples: one histogram per boundary."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from halfv_core.profile import Profile
from halfv_core.records import BoundaryUncertainty
from probe.calibration.certainty import interval_label
from probe.report.figures._style import apply_layout
from probe.report.figures.chart import Chart, Subject, Table

COLORS = {"II": "#B37800", "III": "#1A80C4"}


def figure(subjects: Sequence[Subject]) -> go.Figure | None:
    """One panel per boundary and one bar per layer, with "none" last; the bar of the chosen layer is solid."""
    panels = [panel for panel in _boundaries(subjects[0].profile) if panel[2].wins]
    if not panels:
        return None
    fig = make_subplots(rows=1, cols=len(panels), shared_yaxes=True, horizontal_spacing=0.06)
    for column, (numeral, start, boundary) in enumerate(panels, start=1):
        shapes = ["" if win.layer == start else "/" for win in boundary.wins]
        fig.add_bar(
            name=f"Stage {numeral}",
            x=[_layer_label(win.layer) for win in boundary.wins],
            y=[win.share for win in boundary.wins],
            text=[f"{win.share:.0%}" if win.share >= 0.01 else "<1%" for win in boundary.wins],
            textposition="outside",
            textangle=0,
            constraintext="none",
            textfont={"size": 11},
            cliponaxis=False,
            marker={"color": COLORS[numeral], "pattern": {"shape": shapes, "fillmode": "replace", "solidity": 0.5}},
            hovertemplate=f"Stage {numeral} from %{{x}}: %{{y:.1%}} of the resamples<extra></extra>",
            showlegend=False,
            row=1,
            col=column,
        )
        layers = [win.layer for win in boundary.wins if win.layer is not None]
        order = [str(layer) for layer in range(min(layers), max(layers) + 1)] if layers else []
        interval = f"{_layer_label(start)} (90 %: {interval_label(boundary.low, boundary.high)})"
        title = f"Stage {numeral} from layer<br>{interval}"
        axis = {"type": "category", "categoryorder": "array", "categoryarray": [*order, "none"]}
        fig.update_xaxes(title_text=title, title_font_size=13, **axis, row=1, col=column)
    apply_layout(fig, height=340, top=32, bottom=64)
    fig.update_layout(bargap=0.25)
    fig.update_yaxes(tickformat=".0%", range=[0, 1.1], dtick=0.25)
    fig.update_yaxes(title_text="share of resamples", row=1, col=1)
    return fig


def table(subjects: Sequence[Subject]) -> Table | None:
    """One row for each boundary and layer."""
    rows = [
        (numeral, "none" if win.layer is None else win.layer, win.share, win.layer == start)
        for numeral, start, boundary in _boundaries(subjects[0].profile)
        for win in boundary.wins
    ]
    return Table(("stage", "begins at layer", "share of resamples", "taken"), tuple(rows)) if rows else None


def summary(profile: Profile) -> str:
    """How often the resamples give the chosen layer for each boundary."""
    shares = [
        f"Stage {numeral} begins at {_layer_label(start)} in {sum(w.share for w in found.wins if w.layer == start):.0%}"
        for numeral, start, found in _boundaries(profile)
        if found.wins
    ]
    return f"{' and '.join(shares)} of the resamples." if shares else ""


def _boundaries(profile: Profile) -> list[tuple[str, int | None, BoundaryUncertainty]]:
    """(numeral, chosen layer, uncertainty) of both boundaries."""
    uncertainty, stages = profile.uncertainty, profile.stages
    if uncertainty is None:
        return []
    return [
        ("II", stages.aggregation_start, uncertainty.aggregation_start),
        ("III", stages.saturation_start, uncertainty.saturation_start),
    ]


def _layer_label(layer: int | None) -> str:
    return "none" if layer is None else str(layer)


CHART = Chart(
    name="boundaries",
    title="How sure the stages are",
    caption=(
        "The calibration samples were drawn anew many times, and the stages found again each time: a bar for each "
        'layer at which a stage began, "none" where there was no such stage. The solid bar is the layer that was '
        "taken; the higher it is, the surer the boundary."
    ),
    make=figure,
    table=table,
    summary=summary,
)
