"""How often fewer samples would have given the same stages."""

from collections.abc import Sequence

import plotly.graph_objects as go

from halfv_core.profile import Profile
from halfv_core.records import SampleSize
from probe.calibration.uncertainty import ENOUGH_AGREEMENT
from probe.report.figures._style import INK, STYLES, apply_layout
from probe.report.figures.chart import Chart, Subject, Table


def figure(subjects: Sequence[Subject]) -> go.Figure | None:
    """Two curves over the number of samples on a log axis."""
    sizes = _sizes(subjects[0].profile)
    if not sizes:
        return None
    fig = go.Figure()
    samples = [size.samples for size in sizes]
    curves = (("same layers", "same", STYLES["visual"]), ("within one layer", "within_one", STYLES["text"]))
    for name, field, style in curves:
        fig.add_scatter(
            name=name,
            x=samples,
            y=[getattr(size, field) for size in sizes],
            mode="lines+markers",
            line={"color": style.color, "dash": style.dash, "width": 2},
            marker={"symbol": style.symbol, "size": 8},
            cliponaxis=False,
            hovertemplate="%{y:.0%}",
        )
    fig.add_hline(ENOUGH_AGREEMENT, line={"color": INK, "dash": "dash", "width": 1.5})
    apply_layout(fig, height=340, top=24, bottom=64)
    fig.update_layout(hovermode="x unified")
    fig.update_xaxes(title_text="samples", type="log", tickvals=samples, unifiedhovertitle={"text": "%{x} samples"})
    fig.update_yaxes(title_text="share of draws", tickformat=".0%", range=[0, 1.05])
    return fig


def table(subjects: Sequence[Subject]) -> Table | None:
    """One row for each number of samples."""
    rows = tuple((size.samples, size.same, size.within_one) for size in _sizes(subjects[0].profile))
    return Table(("samples", "same layers", "within one layer"), rows) if rows else None


def summary(profile: Profile) -> str:
    """The calibration's own verdict on the number of samples."""
    return profile.uncertainty.verdict if profile.uncertainty is not None and _sizes(profile) else ""


def _sizes(profile: Profile) -> tuple[SampleSize, ...]:
    return profile.uncertainty.sample_sizes if profile.uncertainty is not None else ()


CHART = Chart(
    name="sample_size",
    title="Were there enough samples?",
    caption=(
        "How often a smaller number of samples, drawn many times, puts both stages where all samples put them. There "
        "are enough when half of them already reach the dashed line."
    ),
    make=figure,
    table=table,
    summary=summary,
)
