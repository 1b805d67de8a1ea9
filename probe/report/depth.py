"""The depth bar: decoder layers from left to right with their stages, what the plan leaves, how sure it is. Pure."""

from typing import NamedTuple

from halfv_core.plan import Plan
from halfv_core.profile import Profile
from halfv_core.records import BoundaryUncertainty
from probe.calibration.certainty import interval_words
from probe.report.labels import stage_spans

NUMBERS = 12
"""Layer numbers below the bar, at most: more do not fit on a phone."""
STEPS = (1, 2, 5, 10, 20, 50)


class Cell(NamedTuple):
    """One decoder layer."""

    layer: int
    stage: str
    alive: float
    """Share of the visual tokens that the layer still sees, 0..1."""
    frozen: bool
    number: str
    """Its number, or nothing where there is no room for it."""


class Mark(NamedTuple):
    """Where a stage begins, with its 90 % interval; places are shares of the bar's length."""

    numeral: str
    at: float
    low: float
    high: float
    interval: str
    """As in "3–5", or one number."""


def depth_bar(profile: Profile) -> list[Cell]:
    """For each decoder layer its stage and what the plan leaves of the visual tokens there."""
    plan, frozen, layers = profile.plan, profile.plan.frozen_layers, profile.layers
    step = next((step for step in STEPS if layers <= NUMBERS * step), layers)
    return [
        Cell(layer, span.numeral, _alive(plan, layer), layer in frozen, "" if layer % step else str(layer))
        for span in stage_spans(profile.stages, layers)
        for layer in range(span.first, span.last + 1)
    ]


def boundary_marks(profile: Profile) -> list[Mark]:
    """The boundaries that lie on the bar and have an interval; "no such stage" lies at the bar's end."""
    sure, stages = profile.uncertainty, profile.stages
    if sure is None:
        return []
    found = [("II", stages.aggregation_start, sure.aggregation_start)]
    if stages.saturation_start is not None:
        found.append(("III", stages.saturation_start, sure.saturation_start))
    return [_mark(numeral, layer, boundary, profile.layers) for numeral, layer, boundary in found]


def _mark(numeral: str, layer: int, boundary: BoundaryUncertainty, layers: int) -> Mark:
    low, high = (layers if end is None else end for end in (boundary.low, boundary.high))
    sharp = boundary.low == boundary.high and boundary.low is not None
    interval = str(boundary.low) if sharp else interval_words(boundary.low, boundary.high)
    return Mark(numeral, layer / layers, low / layers, high / layers, interval)


def _alive(plan: Plan, layer: int) -> float:
    return min((keep.keep_ratio for keep in plan.keeps if keep.layer <= layer), default=1.0)
