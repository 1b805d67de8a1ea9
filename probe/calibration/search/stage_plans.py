"""The plans around the detected stages, with which every search begins.

Tokens are pruned where Stage II begins or at one of the two layers after it, to each keep ratio, and either treatment
of Stage III, or none, starts there or halfway from there to the end.
"""

from collections.abc import Mapping, Sequence

from halfv_core.plan import AnyIntervention, Keep, Option, Plan
from halfv_core.records import Stages
from probe.analyzers.saturation import treatments
from probe.calibration.settings import Settings

EXTRA_LAYERS = 2
"""Pruning is also tried at this many layers after the start of Stage II."""


def stage_plans(stages: Stages, layers: int, settings: Settings) -> list[Plan]:
    """The plans, without duplicates."""
    start, first = stages.saturation_start, stages.aggregation_start
    last = layers - 1 if start is None else start - 1
    prunings = range(first, max(first, min(first + EXTRA_LAYERS, last)) + 1)
    plans = [
        Plan([*pruning, *(treatment if not (pruning and treatment) or _compatible(pruning[0], treatment[0]) else ())])
        for treatment in _stage_three_treatments(start, layers, settings.top_share)
        for pruning in _stage_two_prunings(prunings, settings.keep_ratios, settings.selector, settings.options)
    ]
    return [plan for index, plan in enumerate(plans) if plan not in plans[:index]]


def _stage_two_prunings(
    layers: Sequence[int], keep_ratios: Sequence[float], selector: str, options: Mapping[str, Option]
) -> list[tuple[Keep, ...]]:
    keeps = [
        (Keep(layer=layer, keep_ratio=ratio, selector=selector, options=dict(options)),)
        for layer in layers
        for ratio in sorted(set(keep_ratios) - {1.0})
    ]
    return [*keeps, ()]


def _stage_three_treatments(
    start: int | None, layers: int, top_share: float
) -> list[tuple[AnyIntervention, ...]]:
    if start is None:
        return [()]
    starts = sorted({start, (start + layers) // 2})
    return [(), *(plan.interventions for layer in starts for plan in treatments(layer, layers, top_share).values())]


def _compatible(pruning: Keep, treatment: AnyIntervention) -> bool:
    """Whether the treatment adds to the pruning: a Keep at the same layer, or of a larger share, does not."""
    if not isinstance(treatment, Keep):
        return pruning.layer <= Plan((treatment,)).first_layer
    grows = (treatment.keep_ratio or 0.0) > (1.0 if pruning.keep_ratio is None else pruning.keep_ratio)
    return pruning.layer < treatment.layer and not grows
