"""The spectrum of the visual tokens as a heat map: layers across, eigenvalues down, their shares as colours."""

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from halfv_core.profile import Profile
from probe.report.figures._style import apply_layout
from probe.report.figures.chart import Chart, Subject, Table

DARKEST = -6
"""Shares below this power of ten get the same colour; they are rounding, and would take up most of the scale."""

Shares = tuple[tuple[float, ...], ...]


def figure(subjects: Sequence[Subject]) -> go.Figure | None:
    """The share of the visual tokens' variance in each leading eigenvalue, layer by layer."""
    ranks = by_rank(subjects[0].profile.curves.spectrum)
    if not ranks:
        return None
    lowest = darkest(subjects[0].profile.curves.spectrum)
    heat = go.Heatmap(
        z=[[logarithm(share) for share in row] for row in ranks],
        zmin=lowest,
        zmax=0,
        customdata=ranks,
        y=list(range(1, len(ranks) + 1)),
        colorscale="Cividis",
        colorbar={"title": "share", "thickness": 12, **powers_of_ten(lowest)},
        hovertemplate="input of layer %{x}<br>eigenvalue %{y}<br>share %{customdata:.2e}<extra></extra>",
    )
    fig = go.Figure(heat)
    apply_layout(fig, height=400, top=32)
    fig.update_xaxes(title_text="layer", showgrid=False)
    fig.update_yaxes(title_text="eigenvalue, largest first", autorange="reversed", showgrid=False)
    return fig


def table(subjects: Sequence[Subject]) -> Table | None:
    """One row for each layer, one column for each eigenvalue."""
    ranks = by_rank(subjects[0].profile.curves.spectrum)
    if not ranks:
        return None
    columns = ("layer", *(f"eigenvalue {rank}" for rank in range(1, len(ranks) + 1)))
    return Table(columns, tuple((layer, *row) for layer, row in enumerate(zip(*ranks, strict=True))))


def summary(profile: Profile) -> str:
    """The number of eigenvalues that hold nine tenths of the variance, at the first layer and after the last."""
    spectrum = profile.curves.spectrum
    if not any(spectrum):
        return ""
    first, last = _ranks_holding(spectrum[0]), _ranks_holding(spectrum[-1])
    return (
        f"Nine tenths of what the measured eigenvalues hold is in the first {first} of them at layer 0 and in the "
        f"first {last} after the last layer."
    )


def by_rank(spectrum: Shares) -> list[list[float | None]]:
    """Transpose to one row per eigenvalue and one column per layer; None where a layer has fewer eigenvalues."""
    ranks = max(map(len, spectrum), default=0)
    return [[row[rank] if rank < len(row) else None for row in spectrum] for rank in range(ranks)]


def logarithm(share: float | None) -> float | None:
    """The decimal logarithm of a share; None where rounding made it 0 or negative."""
    return math.log10(share) if share and share > 0 else None


def height(share: float | None, lowest: int) -> float | None:
    """The decimal logarithm of a share, but not below `lowest`; None for a missing share."""
    return None if share is None else max(math.log10(share), lowest) if share > 0 else lowest


def darkest(spectrum: Shares) -> int:
    """The power of ten at the low end of the scale."""
    known = [value for row in spectrum for share in row if (value := logarithm(share)) is not None]
    return min(-1, max(math.floor(min(known, default=0.0)), DARKEST))


def powers_of_ten(lowest: int) -> dict[str, list[int] | list[str]]:
    """Ticks for a scale in powers of ten."""
    exponents = list(range(0, lowest - 1, -1))
    return {"tickvals": exponents, "ticktext": [f"10<sup>{e}</sup>" if e else "1" for e in exponents]}


def _ranks_holding(shares: Sequence[float], part: float = 0.9) -> int:
    whole, held = sum(shares), 0.0
    for rank, share in enumerate(shares, start=1):
        held += share
        if held >= part * whole:
            return rank
    return len(shares)


CHART = Chart(
    name="spectrum",
    title="Spectrum of the visual tokens",
    caption=(
        "Each column is a layer, each row one eigenvalue of the visual tokens' covariance, largest on top; the colour "
        "is its share of the whole, on a log scale. Entropy is low where few eigenvalues hold everything."
    ),
    make=figure,
    table=table,
    summary=summary,
)
