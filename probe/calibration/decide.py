"""Decides where the stages begin, from the curves and the marginal utility.

Each signal proposes a start of Stage II (probe.stages.detect): the end of the text entropy's collapse, the end of the
KL curve's collapse, and the early peak of the visual curve. The later of text and KL is chosen, unless the marginal
utility of pruning there is clearly worse than at another layer of the first third (probe.analyzers.marginal_utility);
then the layer with the best marginal utility is chosen, whether a signal names it or not.

Stage III begins where the causes say (probe.calibration.causes), if the samples can show it, else where the visual
entropy stops falling.
"""

from typing import NamedTuple

from halfv_core.records import Stages
from probe.analyzers.marginal_utility import UtilitySurface, choose_aggregation_start
from probe.stages.curve_shapes import CurveLike
from probe.stages.detect import Boundary, aggregation_candidates, detect_stages

SIGNALS = {"text": "the text entropy", "kl": "the KL curve", "visual": "the visual entropy's early peak"}


class Decision(NamedTuple):
    """The stages, and the candidates for the start of Stage II."""

    stages: Stages
    candidates: dict[str, int]
    """Signal (`text`, `kl`, `visual`) -> layer at which that signal places the start of Stage II."""


def decide_stages(
    visual: CurveLike, text: CurveLike, kl: CurveLike, surface: UtilitySurface | None, seed: int = 0
) -> Decision:
    """Find both boundaries.

    Args:
        visual, text: mean curves, as `detect_stages` takes them.
        kl: typical curve, likewise (`probe.calibration.measurements.typical_kl`).
        surface: marginal utility on the same samples; None if it was not measured.
        seed: seed of the resamples that compare the candidates.
    """
    signals = aggregation_candidates(visual, text, kl)
    candidates = {name: boundary.layer for name, boundary in signals.items() if boundary.layer is not None}
    by_curves = detect_stages(visual, text, kl)
    preferred = by_curves.aggregation_start
    if surface is None or preferred not in surface.layers:
        return Decision(by_curves, candidates)
    layer, worse = choose_aggregation_start(surface.layers, surface, preferred, seed)
    if layer == preferred and len(set(candidates.values())) < 2:
        return Decision(by_curves, candidates)
    chosen = Boundary(layer, _evidence(candidates, preferred, layer, worse, surface))
    return Decision(detect_stages(visual, text, kl, settled=chosen), candidates)


def _evidence(
    candidates: dict[str, int], by_curves: int, layer: int, worse: dict[int, float], surface: UtilitySurface
) -> str:
    placements = ", ".join(f"{SIGNALS[name]} says layer {candidate}" for name, candidate in candidates.items())
    means = dict(zip(surface.layers, surface.utility.mean(1).tolist(), strict=True))
    costs = ", ".join(f"{means[candidate]:.3g} at layer {candidate}" for candidate in worse)
    named = placements or "No signal names a layer"
    comparison = f"{named}. Marginal utility of pruning, nats a token for the whole prefill saved: {costs}"
    if layer == by_curves:
        return f"Signals differ: {comparison}. It does not speak against layer {layer}, the later of text and KL."
    return (
        f"{comparison}. At layer {by_curves} it is worse than at layer {layer} in "
        f"{worse[by_curves]:.0%} of the resamples, so Stage II starts at layer {layer}."
    )


def with_causes(decision: Decision, start: int | None, sentence: str) -> Decision:
    """The decision with Stage III where the causes put it: at the earliest one layer after the start of Stage II.

    Args:
        start: first layer of Stage III; None if there is none.
        sentence: what the causes say.
    """
    stages = decision.stages
    by_curves = stages.saturation_start
    layer = None if start is None else max(start, stages.aggregation_start + 1)
    said = "no Stage III" if by_curves is None else f"layer {by_curves}"
    later = "" if layer == start else f" Stage II begins at layer {stages.aggregation_start}, so Stage III follows it."
    evidence = stages.evidence | {"saturation_start": f"{sentence}{later} The visual entropy alone says {said}."}
    return decision._replace(stages=stages.model_copy(update={"saturation_start": layer, "evidence": evidence}))
