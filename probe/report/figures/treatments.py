"""The two causal tests of Stage III as curves over the layer from which the treatment applies."""

from collections.abc import Sequence
from itertools import cycle

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from halfv_core.profile import CausalTest, Profile
from probe.report.figures._style import INK, MODELS, SYMBOLS, apply_layout
from probe.report.figures.chart import Chart, Subject, Table


def figure(subjects: Sequence[Subject]) -> go.Figure | None:
    """Agreement above, drop in log-likelihood below; filled markers are safe."""
    profile = subjects[0].profile
    curves = by_treatment(profile)
    if not curves:
        return None
    fig = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    looks = cycle(zip(MODELS, SYMBOLS, ("solid", "dash", "dot", "dashdot"), strict=False))
    for (name, tests), (color, symbol, dash) in zip(curves.items(), looks, strict=False):
        marks = [symbol if test.safe else f"{symbol}-open" for test in tests]
        for row, field, number in ((1, "agreement", ".1%"), (2, "log_likelihood_drop", ".4f")):
            fig.add_scatter(
                name=name,
                legendgroup=name,
                showlegend=row == 1,
                x=[test.plan.first_layer for test in tests],
                y=[getattr(test, field) for test in tests],
                text=["safe" if test.safe else "not safe" for test in tests],
                mode="lines+markers",
                line={"color": color, "dash": dash, "width": 2},
                marker={"symbol": marks, "size": 10, "line": {"width": 2, "color": color}},
                cliponaxis=False,
                hovertemplate=f"from layer %{{x}}: %{{y:{number}}}, %{{text}}",
                row=row,
                col=1,
            )
    _draw_limits(fig, profile)
    apply_layout(fig, height=520, top=44, bottom=64)
    fig.update_xaxes(tickvals=sorted({test.plan.first_layer for tests in curves.values() for test in tests}))
    fig.update_xaxes(title_text="from layer", row=2, col=1)
    fig.update_yaxes(title_text="same answers", tickformat=".0%", row=1, col=1)
    fig.update_yaxes(title_text="likelihood drop, nats", row=2, col=1)
    return fig


def table(subjects: Sequence[Subject]) -> Table | None:
    """One row for each test."""
    columns = ("treatment", "from layer", "agreement", "log-likelihood drop", "safe")
    rows = [
        (name, test.plan.first_layer, test.agreement, test.log_likelihood_drop, test.safe)
        for name, tests in by_treatment(subjects[0].profile).items()
        for test in tests
    ]
    return Table(columns, tuple(rows)) if rows else None


def summary(profile: Profile) -> str:
    """The results of the tests that decided the saturation type."""
    tests = profile.saturation.tests
    if not by_treatment(profile):
        return ""
    if not tests:
        count = len(profile.saturation.grid)
        return f"No test decided; {count} treatments from other layers were tried."
    results = (
        f"{_name(test)} from layer {test.plan.first_layer} keeps {test.agreement:.1%} of the answers"
        f" ({'safe' if test.safe else 'not safe'})"
        for test in tests
    )
    sentence = "; ".join(results)
    return f"{sentence[0].upper()}{sentence[1:]}."


def by_treatment(profile: Profile) -> dict[str, list[CausalTest]]:
    """Name of the treatment -> its tests in the order of layers, each plan once; none where causes were measured."""
    if profile.causes is not None:
        return {}
    curves: dict[str, dict[int, CausalTest]] = {}
    for test in (*profile.saturation.grid, *profile.saturation.tests):
        curves.setdefault(_name(test), {})[test.plan.first_layer] = test
    return {name: [tests[layer] for layer in sorted(tests)] for name, tests in curves.items()}


def _name(test: CausalTest) -> str:
    if test.treatment == "layer_inactivity":
        return "freezing all visual tokens"
    ratio = test.plan.keeps[0].keep_ratio if test.plan.keeps else None
    return "keeping few of them" if ratio is None else f"keeping {100 * ratio:.3g} % of them"


def _draw_limits(fig: go.Figure, profile: Profile) -> None:
    """Draw the thresholds of safety, and the start of Stage III."""
    saturation, start = profile.saturation, profile.stages.saturation_start
    quiet = {"color": INK, "dash": "dash", "width": 1.5}
    small = {"annotation_font_size": 11, "annotation_position": "bottom right"}
    if saturation.min_agreement is not None:
        fig.add_hline(saturation.min_agreement, line=quiet, row=1, col=1, annotation_text="safe above", **small)
    small["annotation_position"] = "top right"
    most = saturation.max_log_likelihood_drop
    if most is not None:
        fig.add_hline(most, line=quiet, row=2, col=1, annotation_text="safe below", **small)
    if start is not None:
        fig.add_vline(start, line={"color": INK, "dash": "dot", "width": 1.5})
        at = {"x": start, "y": 1, "yref": "paper", "yanchor": "bottom", "xanchor": "left"}
        fig.add_annotation(text=f"Stage III from layer {start}", showarrow=False, font={"size": 12}, **at)


CHART = Chart(
    name="treatments",
    title="What Stage III can do without",
    caption=(
        "All visual tokens frozen, or only a few of them kept, from one layer on: the share of answers that stay "
        "(above) and the fall in their log-likelihood (below). Filled markers are within both thresholds, the dashed "
        "lines."
    ),
    make=figure,
    table=table,
    summary=summary,
)
