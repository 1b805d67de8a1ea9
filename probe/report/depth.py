"""The data of the depth bar: decoder layers with their stages, the visual tokens the plan keeps, and intervals."""

from typing import NamedTuple

from halfv_core.cost import tokens_by_layer
from halfv_core.profile import Profile
from halfv_core.records import BoundaryUncertainty
from probe.calibration.certainty import interval_label
from probe.report.labels import stage_spans

MAX_NUMBERS = 12
"""Largest number of layer numbers below the bar; more do not fit on a phone."""
STEPS = (1, 2, 5, 10, 20, 50)
"""Possible distances between layer numbers."""


class Cell(NamedTuple):
    """One decoder layer."""

    layer: int
    stage: str
    kept: float
    """Share of the visual tokens that go through the layer, 0..1."""
    frozen: bool
    """Whether these are not all updated there."""
    hidden: bool
    """Whether tokens are absent from the layer that come back later."""
    number: str
    """The layer's number, or "" where there is no room for it."""


class Mark(NamedTuple):
    """The start of a stage with its 90 % interval; positions are shares of the bar's length."""

    numeral: str
    at: float
    low: float
    high: float
    interval: str
    """The interval as text, such as "3–5" or a single number."""


def depth_bar(profile: Profile) -> list[Cell]:
    """One cell per decoder layer, with its stage and the share of visual tokens that the plan keeps there."""
    plan, layers = profile.plan, profile.layers
    visual = max(1, round(profile.expected.visual_tokens))
    tokens = tokens_by_layer(plan, layers, visual, text=0)
    step = next((step for step in STEPS if layers <= MAX_NUMBERS * step), layers)
    return [
        Cell(
            layer,
            span.numeral,
            tokens[layer].visual / visual,
            layer in plan.frozen_layers,
            layer in plan.hidden_layers,
            "" if layer % step else str(layer),
        )
        for span in stage_spans(profile.stages, layers)
        for layer in range(span.first, span.last + 1)
    ]


def boundary_marks(profile: Profile) -> list[Mark]:
    """The stage starts that have an interval; an interval end of "no such stage" is placed at the end of the bar."""
    uncertainty, stages = profile.uncertainty, profile.stages
    if uncertainty is None:
        return []
    starts = [("II", stages.aggregation_start, uncertainty.aggregation_start)]
    if stages.saturation_start is not None:
        starts.append(("III", stages.saturation_start, uncertainty.saturation_start))
    return [_mark(numeral, layer, boundary, profile.layers) for numeral, layer, boundary in starts]


def _mark(numeral: str, layer: int, boundary: BoundaryUncertainty, layers: int) -> Mark:
    low, high = (layers if end is None else end for end in (boundary.low, boundary.high))
    sharp = boundary.low == boundary.high and boundary.low is not None
    interval = str(boundary.low) if sharp else interval_label(boundary.low, boundary.high)
    return Mark(numeral, layer / layers, low / layers, high / layers, interval)
