"""The causal curves: what is left of the picture's use when later layers are frozen, thinned out or blinded."""

from collections.abc import Iterator, Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from halfv_core.profile import Profile
from halfv_core.records import CausalCurve, CausalTreatment, Causes
from probe.calibration.certainty import curves_and_causes, interval_label
from probe.report.figures._style import INK, STYLES, Style, apply_layout
from probe.report.figures.chart import Cell, Chart, Subject, Table

LOOKS: dict[CausalTreatment, Style] = {"freeze": STYLES["visual"], "few": STYLES["text"], "drop": STYLES["joint"]}
LOWEST = -0.2
"""Where lower values are drawn: a treatment can do more harm than taking the picture away."""
LABEL_LINE = 16
"""Height of a line of labels above the plot, pixels."""


def figure(subjects: Sequence[Subject]) -> go.Figure | None:
    """Use kept by layer above; below, the onset of each treatment with its interval."""
    profile = subjects[0].profile
    causes = profile.causes
    if causes is None or not (causes.layers and causes.curves):
        return None
    fig = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.76, 0.24])
    for curve in causes.curves:
        _draw_curve(fig, causes, curve)
        _draw_onset(fig, causes, curve)
    fig.add_hline(causes.level, line={"color": INK, "dash": "dash", "width": 1.5}, row=1, col=1)
    _label(fig, f"{causes.level:.0%} kept", 1, causes.level, x_on="paper", right=True, below=True)
    apply_layout(fig, height=480, top=24 + 2 * LABEL_LINE, bottom=64)
    _draw_starts(fig, profile, causes)
    fig.update_xaxes(range=[-0.5, profile.layers - 0.5])
    fig.update_xaxes(title_text="from layer", row=2, col=1)
    fig.update_yaxes(title_text="use of the picture kept", tickformat=".0%", range=[-0.26, 1.06], row=1, col=1)
    names = [_name(causes, curve.treatment) for curve in causes.curves]
    fig.update_yaxes(type="category", categoryarray=names[::-1], range=[-0.6, len(names) - 0.4], row=2, col=1)
    return fig


def table(subjects: Sequence[Subject]) -> Table | None:
    """One row for each treatment and layer, with the onset of the treatment."""
    causes = subjects[0].profile.causes
    if causes is None or not (causes.layers and causes.curves):
        return None
    columns = ("treatment", "from layer", "loss", "use kept", "onset", "onset at the earliest", "FLOPs ratio at onset")
    rows: list[tuple[Cell, ...]] = [
        (_name(causes, curve.treatment), layer, loss, kept, curve.onset, curve.earliest, curve.flops_ratio)
        for curve in causes.curves
        for layer, loss, kept in _points(causes, curve)
    ]
    return Table(columns, tuple(rows))


def summary(profile: Profile) -> str:
    """The calibration's own sentence, and whether the entropy curve agrees."""
    if profile.causes is None or not (profile.causes.layers and profile.causes.curves):
        return ""
    comparison = curves_and_causes(profile)
    return " ".join([profile.causes.sentence, *([] if comparison is None else [comparison.sentence])])


def _points(causes: Causes, curve: CausalCurve) -> list[tuple[int, float, float]]:
    """(layer, loss, use kept), in the order of layers."""
    return list(zip(causes.layers, curve.loss, curve.use_kept, strict=False))


def _name(causes: Causes, treatment: CausalTreatment) -> str:
    return {"freeze": "freeze all", "few": f"keep {100 * causes.few:.3g} %", "drop": "drop all"}[treatment]


def _draw_curve(fig: go.Figure, causes: Causes, curve: CausalCurve) -> None:
    points, look, name = _points(causes, curve), LOOKS[curve.treatment], _name(causes, curve.treatment)
    shared = {"legendgroup": name, "cliponaxis": False, "row": 1, "col": 1}
    fig.add_scatter(
        name=name,
        x=[layer for layer, _, _ in points],
        y=[max(kept, LOWEST) for _, _, kept in points],
        customdata=[(loss, kept) for _, loss, kept in points],
        mode="lines+markers",
        line={"color": look.color, "dash": look.dash, "width": 2},
        marker={"symbol": look.symbol, "size": 8},
        hovertemplate="from layer %{x}: %{customdata[1]:.1%} of the use kept, loss %{customdata[0]:.3f}",
        **shared,
    )
    lower = [layer for layer, _, kept in points if kept < LOWEST]
    if lower:
        triangle = {"symbol": "triangle-down", "size": 14, "color": look.color}
        below = {"x": lower, "y": [LOWEST] * len(lower), "mode": "markers", "marker": triangle}
        fig.add_scatter(name=f"{name}, lower still", showlegend=False, hoverinfo="skip", **below, **shared)


def _draw_onset(fig: go.Figure, causes: Causes, curve: CausalCurve) -> None:
    """Draw the onset at the right end of its interval; words stand where there is none."""
    name, look = _name(causes, curve.treatment), LOOKS[curve.treatment]
    shared = {"legendgroup": name, "showlegend": False, "y": [name], "cliponaxis": False, "row": 2, "col": 1}
    if curve.onset is None:
        words = "at no layer" if causes.verdict == "measured" else "not known"
        text = {"mode": "text", "text": [words], "textposition": "middle right", "textfont": {"size": 11}}
        fig.add_scatter(name=f"onset, {name}", x=[0], hoverinfo="skip", **text, **shared)
        return
    earliest = curve.onset if curve.earliest is None else min(curve.earliest, curve.onset)
    interval = f"{causes.confidence:.0%} interval {interval_label(earliest, curve.onset)}"
    saved = "" if curve.flops_ratio is None else f"<br>alone {curve.flops_ratio:.2f}x fewer FLOPs"
    fig.add_scatter(
        name=f"onset, {name}",
        x=[curve.onset],
        error_x={
            "array": [0],
            "arrayminus": [curve.onset - earliest],
            "color": look.color,
            "thickness": 3,
            "width": 6,
        },
        mode="markers",
        marker={"symbol": look.symbol, "size": 12, "color": look.color},
        text=[f"{name}: from layer {curve.onset}, {interval}{saved}"],
        hovertemplate="%{text}<extra></extra>",
        **shared,
    )


def _draw_starts(fig: go.Figure, profile: Profile, causes: Causes) -> None:
    """Draw where Stage III begins, and where the entropy curve alone would begin it."""
    for line, (layer, words, dash) in enumerate(_starts(profile.stages.saturation_start, causes.by_curves)):
        fig.add_vline(layer, line={"color": INK, "dash": dash, "width": 1.5})
        _label(fig, words, layer, 1, y_on="paper", right=layer > profile.layers / 2, rise=line * LABEL_LINE)


def _starts(found: int | None, proposed: int | None) -> Iterator[tuple[int, str, str]]:
    """Layer, label and dash of each vertical line; one line if both are at the same layer."""
    if found is not None:
        # Short enough for a phone from the middle on.
        yield found, "Stage III, by entropy too" if found == proposed else f"Stage III from layer {found}", "solid"
    if proposed is not None and proposed != found:
        yield proposed, f"by the entropy curve: layer {proposed}", "dot"


def _label(
    fig: go.Figure,
    text: str,
    x: float,
    y: float,
    *,
    x_on: str = "x",
    y_on: str = "y",
    right: bool = False,
    below: bool = False,
    rise: int = 0,
) -> None:
    """Write beside a point: to its left if it is on the `right` of the chart."""
    at = {"x": x, "y": y, "xref": x_on, "yref": y_on, "xanchor": "right" if right else "left"}
    at |= {"yanchor": "top" if below else "bottom", "yshift": rise}
    fig.add_annotation(text=text, showarrow=False, font={"size": 11}, **at)


CHART = Chart(
    name="causes",
    title="Where the picture stops mattering",
    caption=(
        "From one layer on, all visual tokens were frozen, cut to the few most attended, or dropped, and the loss of "
        "the full model's answers was measured. The control is the same loss with no visual token at any layer: 100 % "
        "is as good as the full model, 0 % as bad as without the picture (triangles lie lower still). Marks below are "
        "the first layer from which on a treatment is proven to leave the dashed share; the bars to their left are "
        "layers that are not ruled out."
    ),
    make=figure,
    table=table,
    summary=summary,
)
