"""Method `vtw`: all visual tokens are withdrawn at one layer in the middle of the decoder."""

from halfv_core.errors import PlanError
from halfv_core.methods.base import METHODS, Method, Target
from halfv_core.methods.settings import layer_at, withdrawn_from
from halfv_core.plan import Plan

FIRST_CANDIDATE = 5
"""The first layer that is asked in the search for the layer."""
DIVERGENCE = {("llava", 40): 0.0005, ("llava_next", 32): 0.0001}
"""KL divergence, in nats, at which tokens may leave, by family and layers."""
OTHER_DIVERGENCE = 0.003


@METHODS.register("vtw")
class VTW(Method):
    """One Keep of nothing."""

    title = "VTW"
    source = "arXiv 2405.05803, AAAI 2025"
    looks_at = "nothing; the layer comes from the KL divergence of answers"
    where = "layer 16 of 32"
    question_aware = False
    needs = "nothing for LLaVA-1.5; else the KL divergence of a withdrawal at each layer, without it half of the depth"
    note = (
        "K 16 (LLaVA-1.5-7B) and 20 (13B) are the published results of the measurement. A calibration measures the "
        "divergence in the other direction, KL(full || withdrawn)"
    )

    def default(self, target: Target) -> Plan:
        """At the published layer, at the one that was measured, or at half of the depth."""
        return withdrawn_from(target, self._layer(target))

    def scaled(self, target: Target, knob: float) -> Plan:
        """The knob is the layer; the dearest is no withdrawal."""
        return withdrawn_from(target, round(knob * target.shape.layers))

    def _layer(self, target: Target) -> int:
        curve, layers = target.measured.withdrawal, target.shape.layers
        if not curve:
            return layer_at(target, 16)
        limit = DIVERGENCE.get((target.model_type, layers), OTHER_DIVERGENCE)
        found = [layer for layer in range(min(FIRST_CANDIDATE, layers - 1), layers) if curve[layer] <= limit]
        if not found:
            raise PlanError(
                "no layer is late enough to withdraw the visual tokens",
                got=f"{min(curve):.2g} nats",
                expected=f"{limit:g} or less from layer {FIRST_CANDIDATE} on",
                remedy="ask for a budget of FLOPs, which says the layer",
            )
        return found[0]
