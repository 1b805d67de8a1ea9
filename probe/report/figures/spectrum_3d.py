"""The spectrum of the visual tokens as a surface over layer and rank."""

from collections.abc import Sequence

import plotly.graph_objects as go

from probe.report.figures import spectrum
from probe.report.figures._style import apply_layout
from probe.report.figures.chart import Chart, Subject


def figure(subjects: Sequence[Subject]) -> go.Figure | None:
    """A surface whose height and colour show the decimal logarithm of the share."""
    shares = subjects[0].profile.curves.spectrum
    ranks = spectrum.by_rank(shares)
    if len(ranks) < 2 or len(shares) < 2:  # a surface needs two points in both directions
        return None
    lowest = spectrum.darkest(shares)
    ticks = spectrum.powers_of_ten(lowest)
    surface = go.Surface(
        x=list(range(len(shares))),
        y=list(range(1, len(ranks) + 1)),
        z=[[spectrum.height(share, lowest) for share in row] for row in ranks],
        customdata=ranks,
        cmin=lowest,
        cmax=0,
        colorscale="Cividis",
        showscale=False,
        hovertemplate="input of layer %{x}<br>eigenvalue %{y}<br>share %{customdata:.2e}<extra></extra>",
    )
    fig = go.Figure(surface)
    apply_layout(fig, height=480, top=0, bottom=0)
    axis = {"gridcolor": "#8A9199", "showbackground": False, "zeroline": False}
    fig.update_layout(
        margin={"l": 0, "r": 0},
        scene={
            "xaxis": {"title": "layer", **axis},
            "yaxis": {"title": "eigenvalue", **axis},
            "zaxis": {"title": "share", "range": [lowest - 0.1, 0], **ticks, **axis},
            "aspectmode": "manual",
            "aspectratio": {"x": 1.2, "y": 1.2, "z": 0.8},
            "camera": {"eye": {"x": 1.8, "y": 1.8, "z": 1.0}, "center": {"x": 0, "y": 0, "z": -0.12}},
        },
    )
    return fig


CHART = Chart(
    name="spectrum_3d",
    title="Spectrum in three dimensions",
    caption=(
        "The same shares as a surface over layer and eigenvalue, height on a log scale: a steep slope means that few "
        "directions hold everything. Drag to turn it."
    ),
    make=figure,
    table=lambda subjects: spectrum.table(subjects) if figure(subjects) else None,
    summary=spectrum.summary,
)
