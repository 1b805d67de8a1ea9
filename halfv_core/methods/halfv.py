"""Method `halfv`: one pruning in early layers, and in late ones a freeze or a second pruning: this project's own plan.

These are the settings of the paper's release. A calibration finds the layers and the treatment by measuring.
"""

from halfv_core.methods.base import METHODS, Method, Target
from halfv_core.methods.settings import QWEN, QWEN_LAYERS, layer_at
from halfv_core.plan import Freeze, Keep, Plan


@METHODS.register("halfv")
class HalfV(Method):
    """A Keep by anchors and coverage, then a Freeze, or a Keep by attention for decoders of the Qwen kind."""

    title = "HalfV"
    source = "arXiv 2604.16462, ACL 2026"
    looks_at = "attention of the last prompt token, and distance of hidden states"
    where = "layers 3 and 15 of 32 (LLaVA-NeXT: 2 and 16; Qwen2.5-VL: 2 and 21 of 28)"
    question_aware = True
    note = (
        "the release's settings and its unscaled scores; other families take those of Qwen2.5-VL (Qwen) or LLaVA-1.5, "
        "at the same depth. Its released code runs for Qwen2.5-VL only, and scores text as visual tokens in late layers"
    )

    def default(self, target: Target) -> Plan:
        """The release's settings for the most similar of its three models."""
        return self._plan(target, 0.25 if target.model_type in QWEN else 0.5)

    def scaled(self, target: Target, knob: float) -> Plan:
        """The knob is the share that the early pruning keeps; late layers are treated as by default."""
        return self._plan(target, knob)

    def _plan(self, target: Target, share: float) -> Plan:
        layers = target.shape.layers
        if target.model_type in QWEN:
            early, late = (layer_at(target, layer, QWEN_LAYERS) for layer in (2, 21))
            options = {"scoring": "release"}
            last = Keep(layer=late, keep_ratio=min(share, 0.05), selector="attention", options=options)
            return Plan((_early(early, share, 0.1), last) if late > early else (last,))
        if target.model_type == "llava":  # the same layers for 7B and 13B
            early, late, anchors = (3, 15, 0.2) if layers == 40 else (layer_at(target, 3), layer_at(target, 15), 0.2)
        elif target.model_type == "llava_next":
            early, late, anchors = layer_at(target, 2), layer_at(target, 16), 0.1
        else:
            early, late, anchors = layer_at(target, 3), layer_at(target, 15), 0.2
        return Plan((_early(early, share, anchors), Freeze(layers=range(late, layers))))


def _early(layer: int, share: float, anchors: float) -> Keep:
    options = {"anchor_share": anchors, "scoring": "release"}
    return Keep(layer=layer, keep_ratio=share, selector="anchor_coverage", options=options)
