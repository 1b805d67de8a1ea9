"""Method `v2drop`: tokens that a layer changed least leave, in three layers."""

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import LLAVA_LAYERS, QWEN, QWEN_LAYERS, layer_at, staged
from halfv_core.plan import Keep, Plan


@METHODS.register("v2drop")
class V2Drop(Staged):
    """Three Keeps, the last of one token."""

    title = "V2Drop"
    source = "CVPR 2026"
    looks_at = "how far the layer before moved each token"
    where = "layers 3, 17 and 22 of 32 (Qwen: 3, 16 and 22 of 28)"
    question_aware = False
    note = "its shares are of the tokens that are left, here of all; its share of 0 keeps one token"

    def default(self, target: Target) -> Plan:
        """A half, a quarter, and one token; for Qwen a quarter, an eightieth, and one token."""
        qwen = target.model_type in QWEN
        first, second, last = (3, 16, 22) if qwen else (3, 17, 22)
        depth = QWEN_LAYERS if qwen else LLAVA_LAYERS
        shares = (0.25, 0.0125) if qwen else (0.5, 0.25)
        return staged(
            (
                Keep(layer=layer_at(target, first, depth), keep_ratio=shares[0], selector="v2drop"),
                Keep(layer=layer_at(target, second, depth), keep_ratio=shares[1], selector="v2drop"),
                Keep(layer=layer_at(target, last, depth), tokens=1, selector="v2drop"),
            )
        )
