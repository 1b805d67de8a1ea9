"""Where the stages begin when the samples are drawn anew: a histogram for each boundary."""

from collections.abc import Sequence

import plotly.graph_objects as go

from halfv_core.profile import Profile
from halfv_core.records import BoundaryUncertainty
from probe.certainty import interval_words
from probe.report.figures._style import lay_out
from probe.report.figures.chart import Chart, Subject, Table

LOOKS = {"II": ("#B37800", ""), "III": ("#1A80C4", "/")}


def figure(subjects: Sequence[Subject]) -> go.Figure | None:
    """One bar for each answer, "none" last."""
    profile = subjects[0].profile
    found = _boundaries(profile)
    layers = [win.layer for _, _, boundary in found for win in boundary.wins if win.layer is not None]
    if not any(boundary.wins for _, _, boundary in found):
        return None
    drawn = go.Figure()
    for numeral, start, boundary in found:
        color, pattern = LOOKS[numeral]
        drawn.add_bar(
            name=f"Stage {numeral} begins (taken: {_word(start)}; 90 %: {interval_words(boundary.low, boundary.high)})",
            x=[_word(win.layer) for win in boundary.wins],
            y=[win.share for win in boundary.wins],
            text=[f"{win.share:.0%}" if win.share >= 0.01 else "<1%" for win in boundary.wins],
            textposition="outside",
            cliponaxis=False,
            marker={"color": color, "pattern": {"shape": pattern, "fillmode": "replace", "solidity": 0.6}},
            hovertemplate=f"Stage {numeral} from %{{x}}: %{{y:.1%}} of the resamples<extra></extra>",
        )
    lay_out(drawn, height=360, top=32, bottom=104)
    whole = [str(layer) for layer in range(min(layers), max(layers) + 1)] if layers else []
    drawn.update_layout(barmode="group", bargap=0.25)
    drawn.update_xaxes(title="layer", type="category", categoryorder="array", categoryarray=[*whole, "none"])
    drawn.update_yaxes(title="share of resamples", tickformat=".0%", range=[0, 1.1], dtick=0.25)
    return drawn


def table(subjects: Sequence[Subject]) -> Table | None:
    """A row for each answer."""
    rows = [
        (numeral, "none" if win.layer is None else win.layer, win.share, win.layer == start)
        for numeral, start, boundary in _boundaries(subjects[0].profile)
        for win in boundary.wins
    ]
    return Table(("stage", "begins at layer", "share of resamples", "taken"), tuple(rows)) if rows else None


def summary(profile: Profile) -> str:
    """How often each boundary comes out where it was put."""
    said = [
        f"Stage {numeral} begins at {_word(start)} in {sum(w.share for w in found.wins if w.layer == start):.0%}"
        for numeral, start, found in _boundaries(profile)
        if found.wins
    ]
    return f"{' and '.join(said)} of the resamples." if said else ""


def _boundaries(profile: Profile) -> list[tuple[str, int | None, BoundaryUncertainty]]:
    found, stages = profile.uncertainty, profile.stages
    if found is None:
        return []
    return [
        ("II", stages.aggregation_start, found.aggregation_start),
        ("III", stages.saturation_start, found.saturation_start),
    ]


def _word(layer: int | None) -> str:
    return "none" if layer is None else str(layer)


CHART = Chart(
    name="boundaries",
    title="How sure the stages are",
    caption=(
        "The calibration samples were drawn anew many times, and the stages found again each time: one bar for each "
        'layer at which a stage began, "none" where there was no such stage. One high bar means that the boundary is sure.'
    ),
    make=figure,
    table=table,
    summary=summary,
)
