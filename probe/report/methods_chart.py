"""The chart of a comparison of methods, retention against FLOPs, and the table with all of its numbers."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from probe.evaluation.methods import MethodComparison, Row
from probe.report.figures import Cell, Table
from probe.report.figures._controls import Change, add_buttons
from probe.report.figures._style import INK, MODELS, apply_layout, escaped
from probe.report.methods_words import tuned

SYMBOLS = {
    "circle": "●",
    "square": "■",
    "diamond": "◆",
    "triangle-up": "▲",
    "triangle-down": "▼",
    "cross": "✚",
    "star": "★",
    "x": "✖",
}
"""Marker of a line -> the character that stands for it in the key."""
DASHES = ("solid", "dash", "dot", "dashdot")
CONTROL_DASHES = ("dash", "dot", "dashdot", "longdash")
PROFILE = "#E0A000"
BAND = "rgba(120,127,135,.16)"
FEW = 8
"""Number of methods up to which intervals are drawn from the beginning."""
CONVENTIONS = {"decoder": "flops_ratio", "visual tokens": "visual_flops_ratio", "whole model": "model_flops_ratio"}
"""What FLOPs are counted of -> the field of a row."""
TITLE = "Retention against FLOPs"


class Line(NamedTuple):
    """The rows of one method, ascending by cost, and how they are drawn."""

    name: str
    title: str
    rows: tuple[Row, ...]
    color: str
    dash: str
    symbol: str

    @property
    def sign(self) -> str:
        """The marker as text."""
        return SYMBOLS[self.symbol]


def lines(comparison: MethodComparison) -> list[Line]:
    """One line for each method but the full model: the controls first, then the others, the profile last."""
    names = list(dict.fromkeys(row.method for row in comparison.rows[1:]))
    by_name = {
        name: tuple(sorted((row for row in comparison.rows if row.method == name), key=lambda row: row.flops_ratio))
        for name in names
    }
    controls = [name for name in names if by_name[name][0].is_control]
    others = [name for name in names if name not in (*controls, "profile")]
    found = [
        _line(by_name[name], INK, CONTROL_DASHES[index % len(CONTROL_DASHES)], "x")
        for index, name in enumerate(controls)
    ]
    markers = [symbol for symbol in SYMBOLS if symbol not in ("x", "star")]
    for index, name in enumerate(others):
        turn = index // len(MODELS)
        marker = markers[(index + turn) % len(markers)]
        found.append(_line(by_name[name], MODELS[index % len(MODELS)], DASHES[turn % len(DASHES)], marker))
    return [*found, *(_line(by_name["profile"], PROFILE, "solid", "star") for _ in range("profile" in by_name))]


def figure(comparison: MethodComparison) -> go.Figure:
    """All methods, with the controls as the floor and the full model as 100 %."""
    drawn = [line for line in lines(comparison) if any(row.retention is not None for row in line.rows)]
    fig = go.Figure()
    for line in drawn:
        if line.rows[0].is_control:
            _draw_band(fig, line)
    for line in drawn:
        _draw_line(fig, line, with_intervals=len(drawn) <= FEW)
    fig.add_hline(1.0, line={"color": INK, "width": 1.5})
    fig.add_annotation(
        text="full model", x=1, xref="paper", xanchor="right", y=1, yanchor="bottom", showarrow=False, font_size=11
    )
    apply_layout(fig, height=520, top=32, bottom=48)
    fig.update_layout(hovermode="closest", showlegend=False)
    fig.update_xaxes(title_text="times fewer FLOPs")
    fig.update_yaxes(title_text="accuracy kept", tickformat=".0%")
    _add_views(fig)
    return fig


def table(comparison: MethodComparison) -> Table:
    """A row for each plan: accuracy, what is kept, savings, times, accuracy by family, and the plan in words."""
    families = list(comparison.full.by_family)
    columns = (
        "method",
        "budget",
        "accuracy",
        "kept",
        "from",
        "to",
        "same answers",
        "FLOPs, decoder",
        "FLOPs, visual",
        "FLOPs, model",
        "KV cache",
        "prefill, x shorter",
        "prefill, ms",
        "choosing",
        *families,
        *(["tuned"] if comparison.tuned_on else []),
        "plan",
    )
    return Table(
        columns, tuple(tuple(_cells(row, families, comparison.tuned_on is not None)) for row in comparison.rows)
    )


def _cells(row: Row, families: Sequence[str], with_settings: bool) -> Iterator[Cell]:
    low, high = row.retention_interval or (None, None)
    yield from (row.label if row.budget is None else row.method, row.budget)
    numbers = (
        row.accuracy,
        row.retention,
        low,
        high,
        row.agreement,
        row.flops_ratio,
        row.visual_flops_ratio,
        row.model_flops_ratio,
        row.kv_ratio,
        row.prefill_ratio,
        1e3 * row.prefill_seconds,
        row.selection_share,
        *(row.by_family[family] for family in families),
    )
    for number in numbers:
        yield None if number is None else float(f"{number:.4g}")
    if with_settings:
        yield tuned(row)
    yield in_words(row)


def in_words(row: Row) -> str:
    """The plan of a row."""
    return "; ".join(row.plan.describe())


def _line(rows: tuple[Row, ...], color: str, dash: str, symbol: str) -> Line:
    return Line(rows[0].method, rows[0].title, rows, color, dash, symbol)


def _draw_band(fig: go.Figure, line: Line) -> None:
    """The interval of a control, as an area."""
    rows = [row for row in line.rows if row.retention_interval is not None]
    lows = [row.retention_interval[0] for row in rows if row.retention_interval]
    highs = [row.retention_interval[1] for row in rows if row.retention_interval]
    fig.add_scatter(
        name=escaped(line.name),
        legendgroup=escaped(line.name),
        x=[row.flops_ratio for row in (*rows, *reversed(rows))],
        y=[*highs, *reversed(lows)],
        customdata=[[getattr(row, field) for field in CONVENTIONS.values()] for row in (*rows, *reversed(rows))],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=BAND,
        hoverinfo="skip",
    )


def _draw_line(fig: go.Figure, line: Line, *, with_intervals: bool) -> None:
    rows = [row for row in line.rows if row.retention is not None]
    retentions = [row.retention for row in rows if row.retention is not None]
    intervals = [
        row.retention_interval or (retention, retention) for row, retention in zip(rows, retentions, strict=True)
    ]
    fig.add_scatter(
        name=escaped(line.name),
        legendgroup=escaped(line.name),
        x=[row.flops_ratio for row in rows],
        y=retentions,
        customdata=[[getattr(row, field) for field in CONVENTIONS.values()] for row in rows],
        text=[_hover(row) for row in rows],
        mode="lines+markers",
        line={"color": line.color, "dash": line.dash, "width": 2},
        marker={"symbol": line.symbol, "size": 14 if line.symbol == "star" else 8, "color": line.color},
        error_y={
            "type": "data",
            "symmetric": False,
            "array": [high - retention for retention, (_, high) in zip(retentions, intervals, strict=True)],
            "arrayminus": [retention - low for retention, (low, _) in zip(retentions, intervals, strict=True)],
            "thickness": 1,
            "width": 3,
            "color": line.color,
            "visible": with_intervals and not line.rows[0].is_control,
        },
        cliponaxis=False,
        hovertemplate="%{text}<extra></extra>",
    )


def _hover(row: Row) -> str:
    low_high = row.retention_interval
    interval = f" ({low_high[0]:.1%} to {low_high[1]:.1%})" if low_high else ""
    parts = [
        f"<b>{escaped(row.label)}</b>",
        f"{row.retention:.1%} kept{interval}",
        f"{row.flops_ratio:.2f}x fewer FLOPs, KV {row.kv_ratio:.2f}x, prefill {row.prefill_ratio:.2f}x",
        *map(escaped, [tuned(row)] if tuned(row) else []),
        *map(escaped, row.plan.describe()),
    ]
    return "<br>".join(parts)


def _add_views(fig: go.Figure) -> None:
    """Buttons for what FLOPs are counted of, and for the intervals."""
    count = len(fig.data)
    views = {
        label: Change({"x": [[point[column] for point in trace.customdata] for trace in fig.data]}, {})
        for column, label in enumerate(CONVENTIONS)
    }
    has_bars = [trace.error_y.visible is not None and trace.line.color != INK for trace in fig.data]
    shown = {
        label: Change({"error_y.visible": [bar and on for bar in has_bars]}, {})
        for label, on in (("intervals", True), ("no intervals", False))
    }
    active = "intervals" if any(trace.error_y.visible for trace in fig.data) else "no intervals"
    if count:
        add_buttons(fig, views, active="decoder", count=count)
        add_buttons(fig, shown, active=active, count=count, right=True)
