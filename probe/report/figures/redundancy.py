"""KL redundancy of each layer on a log axis: how much the prediction changes if the layer skips the visual tokens."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from halfv_core.profile import Profile
from probe.calibration.observations import Observations
from probe.report.figures._curves import Scale, band, line, sample_lines, x_positions
from probe.report.figures._stages import add_intervals, shade_stages
from probe.report.figures._style import STYLES, Style, apply_layout, escaped, log_axis, model_names, model_styles
from probe.report.figures.chart import Chart, Subject, Table


def figure(subjects: Sequence[Subject]) -> go.Figure:
    """One model over layers, with deviations and stages; several over depth, one colour each."""
    single = len(subjects) == 1
    floor = min(_floor_of(profile.curves.redundancy) for profile, _ in subjects)
    highest = max(max(profile.curves.redundancy) for profile, _ in subjects)
    fig = go.Figure()
    if single:
        profile, observations = subjects[0]
        _draw(fig, "KL", profile, STYLES["KL"], floor, depth=False)
        if observations is not None:
            fig.add_trace(_samples(observations, floor))
        shade_stages(fig, profile.stages, profile.layers, points=profile.layers)
        fig.update_xaxes(range=[-0.5, profile.layers - 0.5])
    for name, (profile, _), style in zip(model_names(subjects), subjects, model_styles(), strict=False):
        if not single:
            _draw(fig, escaped(name), profile, style, floor, depth=True)
    apply_layout(fig, height=400, top=72 if single else 24, bottom=64)
    fig.update_xaxes(title_text="layer" if single else "depth, %")
    fig.update_yaxes(title_text="KL, nats", **log_axis(floor, highest))
    if single:
        add_intervals(fig, subjects[0].profile)
    return fig


def table(subjects: Sequence[Subject]) -> Table:
    """One row for each model and layer."""
    rows = [
        (name, layer, depth, typical, curves.kl.mean[layer], curves.kl.std[layer])
        for name, (profile, _) in zip(model_names(subjects), subjects, strict=True)
        for curves in [profile.curves]
        for layer, (depth, typical) in enumerate(
            zip(
                x_positions(profile.layers, profile.layers, depth=True),
                curves.kl_typical or [None] * profile.layers,
                strict=True,
            )
        )
    ]
    return Table(("model", "layer", "depth %", "KL typical", "KL mean", "KL std"), tuple(rows))


def summary(profile: Profile) -> str:
    """The peak, and the last layer that reaches a hundredth of it."""
    kl = profile.curves.redundancy
    peak = max(range(len(kl)), key=kl.__getitem__)
    if kl[peak] <= 0:
        return "No layer changes the answer when it leaves the visual tokens as they are: KL is 0 everywhere."
    active = max(layer for layer, value in enumerate(kl) if value >= 0.01 * kl[peak])
    most = f"KL is highest at layer {peak}, {kl[peak]:.2g} nats"
    return f"{most}; layer {active} is the last that reaches a hundredth of that."


def _floor_of(curve: Sequence[float]) -> float:
    """The height at which zeros are drawn: a power of ten at least half a decade below every positive value."""
    smallest = min((value for value in curve if value > 0), default=1e-6)
    return float(10.0 ** math.floor(math.log10(smallest) - 0.5))


def _draw(fig: go.Figure, name: str, profile: Profile, style: Style, floor: float, *, depth: bool) -> None:
    """Draw a curve; a log axis cannot show 0, so zeros are hollow markers on a floor below all other values."""
    curve, values, typical = profile.curves.kl, profile.curves.redundancy, profile.curves.kl_typical is not None
    x = x_positions(profile.layers, profile.layers, depth)
    if not depth and not typical:
        fig.add_trace(band(name, curve, x, style, Scale(floor=floor)))
    shown = line(name, curve, x, style, Scale(), ".2e")
    shown.y = [value if value > 0 else None for value in values]
    if typical:
        shown.hovertemplate = f"%{{y:.2e}} nats (mean {shown.hovertemplate})"
    shown.hovertemplate = "layer %{customdata[0]}: " + shown.hovertemplate
    fig.add_trace(shown)
    zeros = [layer for layer, value in enumerate(values) if value <= 0]
    if zeros:
        fig.add_scatter(
            name=f"{name} is 0 (at the floor)",
            showlegend=not depth,
            x=[x[layer] for layer in zeros],
            y=[floor] * len(zeros),
            customdata=[(layer, values[layer]) for layer in zeros],
            mode="markers",
            marker={"symbol": "triangle-down-open", "size": 10, "color": style.color, "line": {"width": 2}},
            legendgroup=name,
            cliponaxis=False,
            hovertemplate="layer %{customdata[0]}: %{customdata[1]} nats",
        )


def _samples(observations: Observations, floor: float) -> go.Scatter:
    measured = [sample.kl for sample in observations.samples if sample.kl]
    return sample_lines(measured, STYLES["KL"], Scale(floor=floor), legend=bool(measured))


CHART = Chart(
    name="redundancy",
    title="Redundancy of each layer",
    caption=(
        "How far the next token's distribution moves when one layer leaves the visual tokens as they are (KL "
        "divergence, log axis): low means that the layer does nothing for them that the answer needs. The curve is the "
        "geometric mean over samples, because a few of them make up most of the mean; older profiles show the mean "
        "and one standard deviation. A hollow triangle on the floor is 0."
    ),
    make=figure,
    table=table,
    summary=summary,
    many=True,
)
