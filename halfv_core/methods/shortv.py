"""Method `shortv`: visual tokens are frozen in the layers that change the answer least."""

from halfv_core.errors import PlanError
from halfv_core.methods.base import METHODS, Method, Target
from halfv_core.plan import Freeze, Plan

SHIPPED: dict[tuple[str, int], tuple[int, ...]] = {
    ("llava", 32): (31, 29, 30, 28, 0, 26, 27, 25, 24, 22, 23, 21, 2, 3, 20, 18, 17, 12, 19),
    ("llava", 40): (*(39, 32, 28, 36, 27, 37, 29, 30, 1, 38, 25, 31, 2, 26, 23, 34, 0, 33, 35, 22, 24, 21, 20, 17),),
    ("llava_next", 32): (31, 29, 30, 28, 26, 27, 22, 24, 21, 23, 25, 20, 19, 17, 18, 15, 12, 0, 2),
    ("llava_next", 40): (
        *(39, 32, 29, 36, 27, 30, 37, 23, 25, 31, 26, 2, 28, 22, 33, 35, 34, 24, 38, 21, 20, 18, 1, 17),
    ),
}
"""Layers that the code freezes, the least important first, by family and number of layers of the Vicuna decoder."""
SHARE = 0.6
"""Of the layers of other models."""


@METHODS.register("shortv")
class ShortV(Method):
    """One Freeze."""

    title = "ShortV"
    source = "arXiv 2504.00502, ICCV 2025"
    looks_at = "nothing; layers come from the KL divergence of answers"
    where = "19 of 32 layers, 24 of 40"
    question_aware = False
    needs = "nothing for LLaVA-1.5 and LLaVA-NeXT with Vicuna; else the KL divergence of freezing each layer"
    note = (
        "a calibration measures the divergence in the other direction, KL(full || frozen). Of a shipped order, no more "
        "than its 19 or 24 layers can be frozen unless the others were measured"
    )

    def default(self, target: Target) -> Plan:
        """The shipped layers, or the 60 % that were measured to matter least."""
        shipped = _shipped(target)
        return _frozen(shipped or _ranking(target)[: round(SHARE * target.shape.layers)])

    def scaled(self, target: Target, knob: float) -> Plan:
        """The knob is the number of layers that are not frozen."""
        ranking = _ranking(target)
        return _frozen(ranking[: round((1 - knob) * len(ranking))])


def _shipped(target: Target) -> tuple[int, ...]:
    vicuna = target.shape.kv_width == target.shape.query_width
    return SHIPPED.get((target.model_type, target.shape.layers), ()) if vicuna else ()


def _ranking(target: Target) -> tuple[int, ...]:
    """Layers in the order in which they are frozen: the shipped ones, then the measured ones."""
    shipped, curve = _shipped(target), target.measured.layer_redundancy
    rest = sorted((layer for layer in range(len(curve)) if layer not in shipped), key=curve.__getitem__)
    if not shipped and not rest:
        raise PlanError(
            "ShortV has to measure first which layers matter least on this model",
            remedy="calibrate the model, and give the profile",
        )
    return (*shipped, *rest)


def _frozen(layers: tuple[int, ...]) -> Plan:
    return Plan((Freeze(layers=layers),) if layers else ())
