"""The marginal utility surface as a heat map: the loss in answer quality of each pruning, relative to its savings."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from halfv_core.plan import Keep
from halfv_core.profile import Profile, UtilitySurface
from probe.report.figures._style import INK, apply_layout, escaped
from probe.report.figures.chart import Cell, Chart, Subject, Table


def figure(subjects: Sequence[Subject]) -> go.Figure | None:
    """Layers across, keep ratios up; the plan's choice is framed, and markers above show the signals' candidates."""
    profile = subjects[0].profile
    surface = profile.utility
    if surface is None or not surface.utility:
        return None
    layers, ratios = list(map(str, surface.layers)), [f"{ratio:.0%}" for ratio in surface.keep_ratios]
    fig = go.Figure(_heat(surface, layers, ratios))
    _mark_candidates(fig, surface)
    apply_layout(fig, height=150 + 56 * len(ratios), top=40, bottom=64)
    fig.update_xaxes(title_text="pruned at the input of layer", type="category", showgrid=False)
    ends = [-0.5, len(ratios) + (0.3 if surface.candidates else -0.5)]
    ticks = {"tickvals": list(range(len(ratios))), "ticktext": ratios}
    fig.update_yaxes(title_text="kept", showgrid=False, range=ends, **ticks)
    _frame_taken(fig, profile, surface)
    return fig


def table(subjects: Sequence[Subject]) -> Table | None:
    """One row for each point of the grid."""
    surface = subjects[0].profile.utility
    if surface is None or not surface.utility:
        return None
    columns = ("layer", "keep ratio", "utility", "log-likelihood drop", "saved", "agreement", "candidate of")
    rows: list[tuple[Cell, ...]] = []
    for row, layer in enumerate(surface.layers):
        signals = ", ".join(signal for signal, place in surface.candidates.items() if place == layer)
        for column, ratio in enumerate(surface.keep_ratios):
            tables = (surface.utility, surface.log_likelihood_drop, surface.saved, surface.agreement)
            rows.append((layer, ratio, *(numbers[row][column] for numbers in tables), signals))
    return Table(columns, tuple(rows))


def summary(profile: Profile) -> str:
    """The layer with the lowest utility, and the utility at the start of Stage II."""
    surface = profile.utility
    if surface is None or not surface.utility:
        return ""
    means = [sum(row) / len(row) for row in surface.utility]
    best, start = means.index(min(means)), profile.stages.aggregation_start
    lowest = f"Pruning costs least for what it saves at layer {surface.layers[best]}, {means[best]:.3g} nats a token"
    if start not in surface.layers or surface.layers[best] == start:
        return f"{lowest}."
    return f"{lowest}, and {means[surface.layers.index(start)]:.3g} at layer {start}, where Stage II begins."


def _heat(surface: UtilitySurface, layers: list[str], ratios: list[str]) -> go.Heatmap:
    tables = (surface.utility, surface.log_likelihood_drop, surface.saved, surface.agreement)
    cells = [[list(cell) for cell in zip(*rows, strict=True)] for rows in zip(*tables, strict=True)]
    return go.Heatmap(
        x=layers,
        y=list(range(len(ratios))),
        z=_transposed(surface.utility),
        customdata=_transposed(cells),
        text=[[ratio] * len(layers) for ratio in ratios],
        colorscale="Cividis",
        reversescale=True,
        showscale=False,
        texttemplate="%{z:.2g}",
        xgap=2,
        ygap=2,
        hovertemplate=(
            "layer %{x}, %{text} kept<br>marginal utility %{customdata[0]:.4g} nats a token<br>"
            "likelihood falls by %{customdata[1]:.4g}<br>"
            "FLOPs saved %{customdata[2]:.1%}<br>same answers %{customdata[3]:.1%}<extra></extra>"
        ),
    )


def _transposed(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _mark_candidates(fig: go.Figure, surface: UtilitySurface) -> None:
    """Draw one marker above each layer that a signal proposes; layers outside the grid are left out."""
    named = {layer: [s for s, at in surface.candidates.items() if at == layer] for layer in surface.candidates.values()}
    shown = {layer: signals for layer, signals in named.items() if layer in surface.layers}
    if not shown:
        return
    fig.add_scatter(
        name="where a signal sees Stage II begin",
        x=[str(layer) for layer in shown],
        y=[len(surface.keep_ratios) - 0.35] * len(shown),
        text=["<br>".join(map(escaped, signals)) for signals in shown.values()],
        mode="markers+text",
        textposition="top center",
        cliponaxis=False,
        textfont={"size": 11},
        marker={"symbol": "triangle-down", "size": 11, "color": INK},
        hovertemplate="layer %{x}: %{text}<extra></extra>",
        showlegend=True,
    )


def _frame_taken(fig: go.Figure, profile: Profile, surface: UtilitySurface) -> None:
    """Frame the column of Stage II's start, dotted, and the point that the plan uses, if it is on the grid."""
    if profile.stages.aggregation_start in surface.layers:
        column = surface.layers.index(profile.stages.aggregation_start)
        _frame(fig, "start of Stage II", column, -0.5, len(surface.keep_ratios) - 0.5, dash="dot")
    for keep in profile.plan.keeps[:1]:
        if place := _place(keep, surface):
            column, row = place
            _frame(fig, "taken by the plan", column, row - 0.5, row + 0.5, dash="solid")


def _place(keep: Keep, surface: UtilitySurface) -> tuple[int, int] | None:
    if keep.layer not in surface.layers or keep.keep_ratio not in surface.keep_ratios:
        return None
    return surface.layers.index(keep.layer), surface.keep_ratios.index(keep.keep_ratio)


def _frame(fig: go.Figure, name: str, column: int, low: float, high: float, *, dash: str) -> None:
    line = {"color": "#D55E00", "width": 3, "dash": dash}
    fig.add_shape(name=name, x0=column - 0.5, x1=column + 0.5, y0=low, y1=high, line=line, showlegend=True)


CHART = Chart(
    name="utility",
    title="Marginal utility of pruning",
    caption=(
        "For one pruning at each layer (across) that keeps each share of the visual tokens (up): the fall in the "
        "answers' log-likelihood over the share of FLOPs saved. Low, drawn light, is good; the unit is "
        "nats a token for the whole cost."
    ),
    make=figure,
    table=table,
    summary=summary,
)
