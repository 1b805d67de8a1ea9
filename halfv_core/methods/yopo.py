"""Method `yopo`: text no longer sees the visual tokens from a late layer on; the part of YOPO that is about layers."""

from halfv_core.methods.base import METHODS, Method, Target
from halfv_core.methods.settings import QWEN, QWEN_LAYERS, layer_at, withdrawn_from
from halfv_core.plan import Plan


@METHODS.register("yopo")
class YOPO(Method):
    """One Keep of nothing."""

    title = "YOPO (layer part)"
    source = "arXiv 2410.06169, 2024"
    looks_at = "nothing"
    where = "layer 20 of 40, Qwen 24 of 28"
    question_aware = False
    note = (
        "its other parts (attention in windows, masked heads, thinner MLPs for visual tokens) are no plans of this "
        "project; for Llama decoders its code masks after the softmax, so that what text sees does not sum to 1"
    )

    def default(self, target: Target) -> Plan:
        """At the published depth for LLaVA-1.5-13B or Qwen2-VL-7B."""
        late = (24, QWEN_LAYERS) if target.model_type in QWEN else (20, 40)
        return withdrawn_from(target, layer_at(target, *late))

    def scaled(self, target: Target, knob: float) -> Plan:
        """The knob is the layer; the dearest is the full model."""
        return withdrawn_from(target, round(knob * target.shape.layers))
