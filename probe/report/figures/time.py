"""The time of each step of the calibration, as bars."""

from collections.abc import Sequence

import plotly.graph_objects as go

from halfv_core.profile import Profile
from probe.report.figures._style import STYLES, apply_layout, escaped
from probe.report.figures.chart import Chart, Subject, Table


def figure(subjects: Sequence[Subject]) -> go.Figure | None:
    """One bar for each step, in the order in which they ran."""
    steps = subjects[0].profile.provenance.seconds_by_step
    if not steps:
        return None
    bars = go.Bar(
        orientation="h",
        x=list(steps.values()),
        y=[escaped(step) for step in steps],
        text=[f"{seconds:.3g} s" for seconds in steps.values()],
        textposition="outside",
        cliponaxis=False,
        marker={"color": STYLES["visual"].color},
        hovertemplate="%{y}: %{x:.1f} s<extra></extra>",
    )
    fig = go.Figure(bars)
    apply_layout(fig, height=90 + 30 * len(steps), top=8)
    fig.update_layout(margin={"r": 56})
    fig.update_xaxes(title_text="seconds", rangemode="tozero")
    fig.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return fig


def table(subjects: Sequence[Subject]) -> Table | None:
    """One row for each step."""
    rows = tuple(subjects[0].profile.provenance.seconds_by_step.items())
    return Table(("step", "seconds"), rows) if rows else None


def summary(profile: Profile) -> str:
    """The step that took longest."""
    steps = profile.provenance.seconds_by_step
    if not steps:
        return ""
    longest = max(steps, key=steps.__getitem__)
    return f"Most of it went into {longest}: {steps[longest]:.3g} of {sum(steps.values()):.3g} seconds."


CHART = Chart(
    name="time",
    title="Where the time went",
    caption="Wall-clock seconds of each step of the calibration, in the order in which they ran.",
    make=figure,
    table=table,
    summary=summary,
)
