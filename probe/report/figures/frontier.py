"""Retention against cost for all tested plans, with the Pareto frontier and what is proven."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from halfv_core.profile import Profile, PruningTest
from probe.calibration.certainty import chosen_test
from probe.report.figures._style import INK, MODELS, Style, apply_layout, escaped, model_names, model_styles
from probe.report.figures.chart import Cell, Chart, Subject, Table
from probe.report.labels import search_sentence

COLUMNS = {
    "FLOPs ratio": "flops_ratio",
    "KV ratio": "kv_ratio",
    "latency ratio": "latency_ratio",
    "retention": "retention",
    "held-out retention": "held_out_retention",
    "proven retention": "proven",
    "agreement": "agreement",
    "held-out agreement": "held_out_agreement",
    "log-likelihood drop": "log_likelihood_drop",
    "safe": "safe",
    "safe in resamples": "safe_share",
    "samples": "samples",
    "method": "method",
}
"""Column of the table -> field of a test."""
OPTIONAL = ("latency ratio", "retention", "held-out retention", "proven retention", "samples", "method")
"""Columns that are left out where no test has a value."""
NEAR = (0.25, 0.08)
"""Points nearer than these shares of the chart's width and height have no room for a name each, on a phone."""


class Mark(NamedTuple):
    """The points of one kind."""

    label: str
    tests: list[PruningTest]
    values: list[float]
    marker: dict[str, Any]


def figure(subjects: Sequence[Subject]) -> go.Figure | None:
    """All plans of all subjects; targets, and names of methods, are drawn if there is one subject."""
    tested = [profile for profile, _ in subjects if profile.pruning_tests]
    if not tested:
        return None
    fig = go.Figure()
    single = len(subjects) == 1
    for name, (profile, _), style in zip(model_names(subjects), subjects, model_styles(), strict=False):
        if profile.pruning_tests:
            _draw(fig, escaped(name), profile, style, single=single)
    if single:
        _draw_limits(fig, subjects[0].profile)
        _name_methods(fig, subjects[0].profile)
    proofs = single and subjects[0].profile.certificate is not None
    apply_layout(fig, height=500 if proofs else 420, top=32, bottom=64)
    units = {"score kept" if has_retention(profile) else "same answers" for profile in tested}
    fig.update_xaxes(title_text="times fewer FLOPs")
    fig.update_yaxes(title_text=" or ".join(sorted(units, reverse=True)), tickformat=".0%")
    return fig


def table(subjects: Sequence[Subject]) -> Table | None:
    """One row for each plan."""
    tests = [test for profile, _ in subjects for test in profile.pruning_tests]
    known = {name for name in OPTIONAL if any(getattr(test, COLUMNS[name]) is not None for test in tests)}
    columns = [name for name in COLUMNS if name not in OPTIONAL or name in known]
    rows: list[tuple[Cell, ...]] = [
        (name, plan_label(test), *(getattr(test, COLUMNS[column]) for column in columns), test.plan == profile.plan)
        for name, (profile, _) in zip(model_names(subjects), subjects, strict=True)
        for test in profile.pruning_tests
    ]
    return Table(("model", "plan", *columns, "taken"), tuple(rows)) if rows else None


def summary(profile: Profile) -> str:
    """What is proven, the number of plans and the effort of the search; without a certificate, the plan's quality."""
    tests, certificate = profile.pruning_tests, profile.certificate
    if not tests:
        return ""
    safe = sum(test.safe for test in tests)
    if certificate is not None:
        proven = sum(is_proven(test, profile) for test in tests)
        counts = f"{len(tests)} plans were judged: {safe} reach the target by estimate, and {proven} are proven to."
        effort = [] if profile.search is None else [search_sentence(profile.search)]
        return " ".join([certificate.sentence, counts, *effort])
    tried = f"{len(tests)} plans were tried, {safe} of them safe" if len(tests) > 1 else "One plan was tried"
    taken = chosen_test(profile)
    if taken is None:
        return f"{tried}."
    return f"{tried}; the one taken keeps {taken.agreement:.1%} of the answers at {taken.flops_ratio:.2f}x fewer FLOPs."


def plan_label(test: PruningTest) -> str:
    """A description of the plan of a test."""
    return "; ".join(test.plan.describe()) or "change nothing"


def kept(test: PruningTest) -> float:
    """Share of the score that a plan keeps, or of the answers where the score is not known."""
    return test.agreement if test.retention is None else test.retention


def is_proven(test: PruningTest, profile: Profile) -> bool:
    """Whether a plan is proven to reach the target."""
    certificate = profile.certificate
    return certificate is not None and test.proven is not None and test.proven >= certificate.target


def has_retention(profile: Profile) -> bool:
    """Whether plans were judged by the score that they keep."""
    return any(test.retention is not None for test in profile.pruning_tests)


def pareto_frontier(tests: Sequence[PruningTest]) -> list[PruningTest]:
    """The Pareto frontier of FLOPs ratio and what is kept, in order of increasing FLOPs ratio."""
    front: list[PruningTest] = []
    for test in sorted(tests, key=lambda test: (-test.flops_ratio, -kept(test))):
        if not front or kept(test) > kept(front[-1]):
            front.append(test)
    return front[::-1]


def _draw(fig: go.Figure, name: str, profile: Profile, style: Style, *, single: bool) -> None:
    """Draw the plans of one profile; in a comparison it gets one legend entry, and the caption explains the markers."""
    front = pareto_frontier(profile.pruning_tests)
    fig.add_scatter(
        name="frontier" if single else name,
        legendgroup="frontier" if single else name,
        x=[test.flops_ratio for test in front],
        y=[kept(test) for test in front],
        mode="lines",
        line={"color": style.color, "width": 1.5},
        showlegend=True,
        hoverinfo="skip",
    )
    _draw_proof(fig, name, profile, style, single=single)
    for label, tests, values, marker in _marks(profile, style, MODELS[-1] if single else style.color):
        if tests:
            fig.add_scatter(
                name=label if single else f"{name}, {label}",
                legendgroup=label if single else name,
                showlegend=single,
                x=[test.flops_ratio for test in tests],
                y=values,
                text=[_hover(test) for test in tests],
                mode="markers",
                marker=marker,
                cliponaxis=False,
                hovertemplate=f"%{{y:.1%}} {_unit(profile)}, %{{x:.2f}}x fewer FLOPs<br>%{{text}}",
            )


def _marks(profile: Profile, style: Style, method_color: str) -> list[Mark]:
    tests = profile.pruning_tests
    own, methods = [test for test in tests if test.method is None], [test for test in tests if test.method is not None]
    filled = {"symbol": style.symbol, "size": 10, "color": style.color}
    dotted = {"symbol": f"{style.symbol}-open-dot", "size": 10, "color": style.color, "line": {"width": 2}}
    cross = {"symbol": "x-thin-open", "size": 10, "color": style.color, "line": {"width": 3}}
    star = {"symbol": "star", "size": 12, "color": method_color}
    square = {"symbol": "square-open", "size": 11, "color": style.color, "line": {"width": 2}}
    ring = {"symbol": "circle-open", "size": 20, "color": INK, "line": {"width": 2}}
    unsafe = [test for test in own if not test.safe and not is_proven(test, profile)]
    if profile.certificate is None:
        found = [_mark("safe", [test for test in own if test.safe], filled), _mark("not safe", unsafe, cross)]
    else:
        estimated = [test for test in own if test.safe and not is_proven(test, profile)]
        found = [
            _mark("proven", [test for test in own if is_proven(test, profile)], filled),
            _mark("by estimate", estimated, dotted),
            _mark("below target", unsafe, cross),
        ]
    held_out = [(test, value) for test in tests if (value := _held_out(test)) is not None]
    return [
        *found,
        _mark("published method", methods, star),
        Mark("held-out samples", [test for test, _ in held_out], [value for _, value in held_out], square),
        _mark("taken", [test for test in tests if test.plan == profile.plan], ring),
    ]


def _mark(label: str, tests: list[PruningTest], marker: dict[str, Any]) -> Mark:
    return Mark(label, tests, [kept(test) for test in tests], marker)


def _held_out(test: PruningTest) -> float | None:
    return test.held_out_agreement if test.retention is None else test.held_out_retention


def _unit(profile: Profile) -> str:
    return "of the score kept" if has_retention(profile) else "same answers"


def _hover(test: PruningTest) -> str:
    """The name of the method, what is proven, and the plan."""
    lines = [] if test.method is None else [f"<b>{escaped(test.method)}</b>"]
    if test.proven is not None:
        lines.append(f"proven: at least {test.proven:.1%}")
    if test.latency_ratio is not None:
        lines.append(f"prefill {test.latency_ratio:.2f}x shorter")
    return "<br>".join([*lines, escaped(plan_label(test)).replace("; ", "<br>")])


def _draw_proof(fig: go.Figure, name: str, profile: Profile, style: Style, *, single: bool) -> None:
    """Draw a line from what the taken plan keeps by estimate to what is proven of it, with a tick at its end."""
    certificate, taken = profile.certificate, chosen_test(profile)
    if certificate is None or certificate.proven is None or taken is None:
        return
    sure = f"{certificate.confidence:.0%} confidence"
    fig.add_scatter(
        name=f"proven of it, {sure}" if single else f"{name}, proven, {sure}",
        legendgroup="proof" if single else name,
        showlegend=single,
        x=[taken.flops_ratio] * 2,
        y=[kept(taken), certificate.proven],
        mode="lines+markers",
        line={"color": INK, "width": 2},
        marker={"symbol": ["line-ew-open"] * 2, "size": [0, 16], "color": INK, "line": {"width": 3}},
        cliponaxis=False,
        hovertemplate=f"proven: at least {certificate.proven:.1%} with {sure}<extra></extra>",
    )


def _draw_limits(fig: go.Figure, profile: Profile) -> None:
    """Draw the thresholds that a plan had to meet, labelled at the start of their lines."""
    resolved, certificate = profile.provenance.arguments_resolved, profile.certificate
    safe_from = profile.saturation.min_agreement if certificate is None else None
    if safe_from is not None:
        fig.add_hline(safe_from, line={"color": INK, "dash": "dash", "width": 1.5})
        _label(fig, f"safe from {safe_from:.0%}", 0, safe_from, x_on="paper")
    retention = resolved.get("target_retention") if certificate is None else certificate.target
    flops = resolved.get("target_flops")
    if isinstance(retention, float) and retention != safe_from:
        fig.add_hline(retention, line={"color": INK, "dash": "dot", "width": 1.5})
        _label(fig, f"target {100 * retention:.3g}%", 0, retention, x_on="paper")
    if isinstance(flops, float | int):
        fig.add_vline(flops, line={"color": INK, "dash": "dot", "width": 1.5})
        _label(fig, f"target {flops:g}x", flops, 1, y_on="paper")


def _label(fig: go.Figure, text: str, x: float, y: float, *, x_on: str = "x", y_on: str = "y") -> None:
    at = {"x": x, "y": y, "xref": x_on, "yref": y_on, "xanchor": "left", "yanchor": "bottom"}
    fig.add_annotation(text=text, showarrow=False, font={"size": 11}, **at)


def _name_methods(fig: go.Figure, profile: Profile) -> None:
    """Write the names of those published methods that no other plan beats, above the frontier, where nothing is.

    Names that would overlap are written below each other, from left to right, at the leftmost point.
    """
    tests = profile.pruning_tests
    wide, high = (max(values) - min(values) for values in ([t.flops_ratio for t in tests], [kept(t) for t in tests]))
    groups: list[list[PruningTest]] = []
    for test in pareto_frontier(tests):
        if test.method is None:
            continue
        first = groups[-1][0] if groups else None
        if (
            first
            and test.flops_ratio - first.flops_ratio < NEAR[0] * wide
            and kept(first) - kept(test) < NEAR[1] * high
        ):
            groups[-1].append(test)
        else:
            groups.append([test])
    for group in groups:
        at = {"x": group[0].flops_ratio, "y": kept(group[0]), "xanchor": "left", "yanchor": "bottom", "xshift": 4}
        text = "<br>".join(escaped(test.method or "") for test in group)
        fig.add_annotation(text=text, showarrow=False, align="left", font={"size": 11}, **at)


CHART = Chart(
    name="frontier",
    title="Retention against cost",
    caption=(
        "Each point is a whole plan: how many times fewer FLOPs it takes, and the share of the full model's score that "
        "it keeps, or of its answers where no score was measured. Filled marks are proven to reach the target (without "
        "a proof: safe), marks with a dot reach it only by estimate, crosses do not; stars are published methods, and "
        "hollow squares are held-out samples. The line joins the plans that no other beats on both. The ring is the "
        "plan that was taken, and the tick on its stem is what is proven of it."
    ),
    make=figure,
    table=table,
    summary=summary,
    many=True,
)
