"""Charts of `Bars`: one bar with its interval for each condition."""

import plotly.graph_objects as go

from probe.analyzers.findings import Bars
from probe.report.figures import Table
from probe.report.figures._style import INK, MODELS, apply_layout, escaped
from probe.report.findings.chart import Depth, FindingChart, value_title, with_unit, wrapped

LABEL_WIDTH = 20
"""Characters of a condition in one line, so that bars keep some room on a phone."""
BAR_HEIGHT = 30


def chart(finding: Bars, depth: Depth) -> FindingChart:
    """One chart; it has no layer axis, so `depth` is not used."""
    noun = "sample" if finding.samples == 1 else "samples"
    shown = zip(finding.conditions, finding.mean, strict=True)
    cells = zip(finding.conditions, finding.mean, finding.low, finding.high, strict=True)
    return FindingChart(
        name=finding.name,
        title=finding.title,
        caption=f"Of {finding.samples} {noun}, with 95 % bootstrap intervals.",
        summary="; ".join(f"{condition}: {with_unit(mean, finding)}" for condition, mean in shown) + ".",
        figure=_figure(finding),
        table=Table(("condition", "mean", "from", "to"), tuple(cells)),
    )


def _figure(finding: Bars) -> go.Figure:
    labels = [wrapped(name, LABEL_WIDTH) for name in finding.conditions]
    lines = sum(max(1.0, 0.6 * (label.count("<br>") + 1)) for label in labels)
    places = list(range(len(labels)))
    fig = go.Figure(
        go.Bar(
            x=finding.mean,
            y=places,
            orientation="h",
            marker={"color": MODELS[0]},
            error_x={
                "symmetric": False,
                "array": [high - mean for high, mean in zip(finding.high, finding.mean, strict=True)],
                "arrayminus": [mean - low for mean, low in zip(finding.mean, finding.low, strict=True)],
                "color": INK,
                "thickness": 2,
                "width": 5,
            },
            customdata=[
                [escaped(name), low, high]
                for name, low, high in zip(finding.conditions, finding.low, finding.high, strict=True)
            ],
            hovertemplate="%{customdata[0]}: %{x:.3g} (%{customdata[1]:.3g} to %{customdata[2]:.3g})<extra></extra>",
        )
    )
    apply_layout(fig, height=round(90 + BAR_HEIGHT * lines), top=12, bottom=48)
    fig.update_layout(hovermode="closest", bargap=0.35)
    fig.update_xaxes(title_text=value_title(finding), zeroline=True, zerolinecolor=INK)
    # Places instead of names, since equal names would share a bar; the first condition stands on top.
    fig.update_yaxes(tickmode="array", tickvals=places, ticktext=labels, autorange="reversed", showgrid=False)
    return fig
