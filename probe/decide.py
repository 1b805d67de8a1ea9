"""Curves and marginal utility -> the stages: the one rule by which a calibration settles where they begin.

Each signal names a candidate for the start of Stage II (probe.stages): the end of the text entropy's collapse, the end
of the KL curve's, the visual curve's early peak. Where they differ, the marginal utility that was measured at them
decides (probe.analyzers.marginal_utility); where it was not measured, the later of text and KL counts.
"""

from typing import NamedTuple

from halfv_core.records import Stages
from probe.analyzers.marginal_utility import UtilitySurface, settle
from probe.curve_shapes import CurveLike
from probe.stages import Boundary, aggregation_candidates, detect_stages

SIGNALS = {"text": "the text entropy", "kl": "the KL curve", "visual": "the visual entropy's early peak"}


class Decision(NamedTuple):
    """The stages, and what stood for election."""

    stages: Stages
    candidates: dict[str, int]
    """Signal (`text`, `kl`, `visual`) -> the layer at which it sees Stage II begin."""


def decide_stages(
    visual: CurveLike, text: CurveLike, kl: CurveLike, surface: UtilitySurface | None, seed: int = 0
) -> Decision:
    """Find both boundaries.

    Args:
        visual, text, kl: mean curves, as `detect_stages` takes them.
        surface: marginal utility on the same samples; None where it was not measured.
        seed: of the resamples that compare candidates.
    """
    signals = aggregation_candidates(visual, text, kl)
    candidates = {name: boundary.layer for name, boundary in signals.items() if boundary.layer is not None}
    layers = sorted(set(candidates.values()))
    if surface is None or len(layers) < 2 or not set(layers) <= set(surface.layers):
        return Decision(detect_stages(visual, text, kl), candidates)
    layer, worse = settle(layers, surface, seed)
    settled = Boundary(layer, _evidence(candidates, layer, worse, surface))
    return Decision(detect_stages(visual, text, kl, settled=settled), candidates)


def _evidence(candidates: dict[str, int], layer: int, worse: dict[int, float], surface: UtilitySurface) -> str:
    said = ", ".join(f"{SIGNALS[name]} says layer {at}" for name, at in candidates.items())
    means = dict(zip(surface.layers, surface.utility.mean(1).tolist(), strict=True))
    costs = ", ".join(f"{means[at]:.3g} at layer {at}" for at in worse)
    others = ", ".join(f"layer {at} in {share:.0%}" for at, share in worse.items() if at != layer)
    return (
        f"Signals differ: {said}. Pruning there costs {costs} nats a token for the whole prefill saved (marginal "
        f"utility); worse than the best in resamples: {others}. So Stage II starts at layer {layer}."
    )
