"""Retention against cost for all tested plans, with the Pareto frontier."""

from collections.abc import Sequence

import plotly.graph_objects as go

from halfv_core.profile import Profile, PruningTest
from probe.report.figures._style import INK, Style, apply_layout, escaped, model_names, model_styles
from probe.report.figures.chart import Chart, Subject, Table


def figure(subjects: Sequence[Subject]) -> go.Figure | None:
    """All plans of all subjects; thresholds are drawn if there is one subject."""
    if not any(profile.pruning_tests for profile, _ in subjects):
        return None
    fig = go.Figure()
    for name, (profile, _), style in zip(model_names(subjects), subjects, model_styles(), strict=False):
        if profile.pruning_tests:
            _draw(fig, escaped(name), profile, style, single=len(subjects) == 1)
    if len(subjects) == 1:
        _draw_limits(fig, subjects[0].profile)
    apply_layout(fig, height=420, top=32, bottom=64)
    fig.update_xaxes(title_text="times fewer FLOPs")
    fig.update_yaxes(title_text="same answers", tickformat=".0%")
    return fig


def table(subjects: Sequence[Subject]) -> Table | None:
    """One row for each plan."""
    columns = ("model", "plan", "FLOPs ratio", "KV ratio", "agreement", "held-out agreement", "log-likelihood drop")
    rows = [
        (
            name,
            plan_label(test),
            test.flops_ratio,
            test.kv_ratio,
            test.agreement,
            test.held_out_agreement,
            test.log_likelihood_drop,
            test.safe,
            test.safe_share,
            test.plan == profile.plan,
        )
        for name, (profile, _) in zip(model_names(subjects), subjects, strict=True)
        for test in profile.pruning_tests
    ]
    return Table((*columns, "safe", "safe in resamples", "taken"), tuple(rows)) if rows else None


def summary(profile: Profile) -> str:
    """The number of plans that were tested, and the quality of the chosen one."""
    tests = profile.pruning_tests
    if not tests:
        return ""
    safe = sum(test.safe for test in tests)
    tried = f"{len(tests)} plans were tried, {safe} of them safe" if len(tests) > 1 else "One plan was tried"
    taken = next((test for test in tests if test.plan == profile.plan), None)
    if taken is None:
        return f"{tried}."
    return f"{tried}; the one taken keeps {taken.agreement:.1%} of the answers at {taken.flops_ratio:.2f}x fewer FLOPs."


def plan_label(test: PruningTest) -> str:
    """A description of the plan of a test."""
    return "; ".join(test.plan.describe()) or "change nothing"


def pareto_frontier(tests: Sequence[PruningTest]) -> list[PruningTest]:
    """The Pareto frontier of FLOPs ratio and agreement, in order of increasing FLOPs ratio."""
    front: list[PruningTest] = []
    for test in sorted(tests, key=lambda test: (-test.flops_ratio, -test.agreement)):
        if not front or test.agreement > front[-1].agreement:
            front.append(test)
    return front[::-1]


def _draw(fig: go.Figure, name: str, profile: Profile, style: Style, *, single: bool) -> None:
    """Draw the plans of one profile; in a comparison it gets one legend entry, and the caption explains the markers."""
    front, color = pareto_frontier(profile.pruning_tests), style.color
    fig.add_scatter(
        name="frontier" if single else name,
        legendgroup="frontier" if single else name,
        x=[test.flops_ratio for test in front],
        y=[test.agreement for test in front],
        mode="lines",
        line={"color": color, "width": 1.5},
        showlegend=True,
        hoverinfo="skip",
    )
    safe = [test for test in profile.pruning_tests if test.safe]
    unsafe = [test for test in profile.pruning_tests if not test.safe]
    taken = [test for test in profile.pruning_tests if test.plan == profile.plan]
    held_out = [test for test in profile.pruning_tests if test.held_out_agreement is not None]
    hollow = {"symbol": "square-open", "size": 11, "color": color, "line": {"width": 2}}
    marks = (
        ("safe", safe, "agreement", {"symbol": style.symbol, "size": 10, "color": color}),
        ("not safe", unsafe, "agreement", {"symbol": "x-thin-open", "size": 10, "color": color, "line": {"width": 3}}),
        ("held-out samples", held_out, "held_out_agreement", hollow),
        ("taken", taken, "agreement", {"symbol": "circle-open", "size": 20, "color": INK, "line": {"width": 2}}),
    )
    for label, tests, field, marker in marks:
        if tests:
            fig.add_scatter(
                name=label if single else f"{name}, {label}",
                legendgroup=label if single else name,
                showlegend=single,
                x=[test.flops_ratio for test in tests],
                y=[getattr(test, field) for test in tests],
                text=[escaped(plan_label(test)).replace("; ", "<br>") for test in tests],
                mode="markers",
                marker=marker,
                cliponaxis=False,
                hovertemplate="%{y:.1%} same answers, %{x:.2f}x fewer FLOPs<br>%{text}",
            )


def _draw_limits(fig: go.Figure, profile: Profile) -> None:
    """Draw the thresholds that a plan had to meet, labelled at the start of their lines."""
    resolved = profile.provenance.arguments_resolved
    safe_from = profile.saturation.min_agreement
    if safe_from is not None:
        fig.add_hline(safe_from, line={"color": INK, "dash": "dash", "width": 1.5})
        _label(fig, f"safe from {safe_from:.0%}", 0, safe_from, x_on="paper")
    retention, flops = resolved.get("target_retention"), resolved.get("target_flops")
    if isinstance(retention, float) and retention != safe_from:
        fig.add_hline(retention, line={"color": INK, "dash": "dot", "width": 1.5})
        _label(fig, f"target {retention:.0%}", 0, retention, x_on="paper")
    if isinstance(flops, float | int):
        fig.add_vline(flops, line={"color": INK, "dash": "dot", "width": 1.5})
        _label(fig, f"target {flops:g}x", flops, 1, y_on="paper")


def _label(fig: go.Figure, text: str, x: float, y: float, *, x_on: str = "x", y_on: str = "y") -> None:
    at = {"x": x, "y": y, "xref": x_on, "yref": y_on, "xanchor": "left", "yanchor": "bottom"}
    fig.add_annotation(text=text, showarrow=False, font={"size": 11}, **at)


CHART = Chart(
    name="frontier",
    title="Retention against cost",
    caption=(
        "Each point is a whole plan that was tried: how many times fewer FLOPs it takes, and the share of the full "
        "model's answers that stay. Filled marks are safe plans, crosses are not; hollow squares are held-out "
        "samples; the line joins the plans that no other beats on both, and the ring is the plan that was taken."
    ),
    make=figure,
    table=table,
    summary=summary,
    many=True,
)
