"""Method `fitprune`: tokens leave layer by layer, by a schedule that changes attention least for its cost."""

from collections.abc import Sequence
from itertools import accumulate

from halfv_core.methods.base import METHODS, Method, Target, bracket
from halfv_core.methods.settings import LLAVA_LAYERS, LLAVA_TOKENS, layer_at, staged
from halfv_core.plan import Keep, Plan

SHIPPED = {
    0: (),
    10: (0, 0, 1, 2, 1, 0, 1, 4, 5, 5, 11, 4, 2, 2, 0, 0, 1, 1, 2, 4, 2, 10, 1, 1, 1, 2, 1, 1, 0, 1),
    20: (0, 0, 3, 3, 1, 1, 4, 16, 14, 15, 24, 4, 2, 3, 2, 0, 6, 0, 5, 13, 4, 19, 2, 1, 1, 1, 1, 1, 2, 1),
    30: (0, 0, 7, 6, 4, 5, 16, 40, 24, 21, 24, 4, 2, 3, 4, 0, 16, 0, 11, 26, 6, 32, 3, 1, 0, 1, 2, 2, 4),
    40: (0, 1, 21, 13, 14, 11, 41, 53, 29, 15, 14, 5, 1, 4, 5, 1, 26, 1, 13, 28, 6, 27, 2, 1, 0, 0, 1, 1, 2),
    50: (3, 7, 49, 24, 29, 17, 59, 41, 26, 8, 10, 6, 2, 5, 7, 2, 30, 3, 13, 27, 5, 23, 2, 1, 0, 0, 1, 1, 2),
    55: (6, 17, 69, 31, 34, 19, 59, 30, 23, 6, 8, 7, 2, 5, 8, 2, 29, 4, 12, 25, 4, 19, 2, 1, 0, 0, 1, 0, 1),
    60: (14, 33, 89, 36, 36, 20, 55, 21, 18, 4, 7, 5, 2, 5, 7, 4, 26, 5, 11, 24, 4, 18, 2, 1, 0, 0, 1, 0, 1),
    70: (48, 79, 118, 41, 33, 17, 36, 9, 9, 2, 3, 2, 1, 3, 4, 8, 18, 7, 8, 20, 4, 13, 2, 1, 0, 0, 1, 0, 1),
    80: (128, 127, 118, 35, 26, 8, 13, 3, 2, 1, 0, 0, 0, 2, 1, 8, 7, 8, 5, 11, 2, 6, 1, 1, 0, 0, 0, 1),
    90: (262, 153, 80, 19, 13, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 1, 2, 0, 1, 0, 0, 0, 0, 0, 1),
}
"""Percentage of the visual tokens' FLOPs that is saved -> tokens removed in each of LLaVA-1.5-7B's layers."""
DEFAULT = 60


@METHODS.register("fitprune")
class FitPrune(Method):
    """A Keep at the input of each layer before which tokens leave."""

    title = "FitPrune"
    source = "arXiv 2409.10197, AAAI 2025"
    looks_at = "attention from the question times attention from visual tokens, layer before"
    where = "every layer from 1 on"
    question_aware = True
    needs = "nothing for LLaVA-1.5-7B; else a schedule, measured on the model, without it LLaVA's at the same depth"
    note = (
        "at 60 % of the visual tokens' FLOPs; its code prunes between a layer's attention and its MLP, here before the "
        "next layer, so that a schedule saves a little less than it says. Schedules between these are interpolated"
    )

    def default(self, target: Target) -> Plan:
        """The shipped schedule, or the measured one, that saves 60 % of the visual tokens' FLOPs."""
        if not target.measured.removed:
            return _plan(target, _shipped(DEFAULT))
        wanted = 1 / (1 - DEFAULT / 100)
        knob, _ = bracket(lambda knob: target.cost(self.scaled(target, knob)).visual_flops_ratio > wanted)
        return self.scaled(target, knob)

    def scaled(self, target: Target, knob: float) -> Plan:
        """The knob goes through the schedules, from the most severe to the mildest."""
        schedules = target.measured.removed or [_shipped(saved) for saved in SHIPPED]
        place = (1 - knob) * (len(schedules) - 1)
        milder = min(int(place), len(schedules) - 2)
        weight = place - milder
        pairs = zip(schedules[milder], schedules[milder + 1], strict=True)
        return _plan(target, [(1 - weight) * mild + weight * severe for mild, severe in pairs])


def _shipped(saved: int) -> list[float]:
    """Share of the tokens that have been removed after each of LLaVA's layers."""
    counts = (*SHIPPED[saved], *[0] * LLAVA_LAYERS)[:LLAVA_LAYERS]
    return [total / LLAVA_TOKENS for total in accumulate(counts)]


def _plan(target: Target, removed: Sequence[float]) -> Plan:
    """A Keep at the input of each layer before which tokens are removed; a share for each layer of some decoder."""
    return staged(
        Keep(layer=layer_at(target, layer, len(removed)), keep_ratio=max(0.0, 1 - now), selector="fitprune")
        for layer, (before, now) in enumerate(zip((0.0, *removed), removed[:-1], strict=False), start=1)
        if now > before
    )
