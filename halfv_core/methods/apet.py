"""Method `apet`: tokens that a few basis tokens explain worst stay, and the others are merged into them."""

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import QWEN, QWEN_LAYERS, layer_at, of_576, staged
from halfv_core.plan import Keep, Plan

BASIS = 10


@METHODS.register("apet")
class ApET(Staged):
    """A Keep at layer 0 by the tower's features, and one in the middle by hidden states, both with a merge."""

    title = "ApET"
    source = "arXiv 2602.19870, CVPR 2026"
    looks_at = "error of approximation by basis tokens"
    where = "before the decoder, and layer 16 of 32 (Qwen: 14 of 28)"
    question_aware = False
    note = "96 and then 32 of 576 tokens, its README's example; the first basis token is fixed, not drawn"

    def default(self, target: Target) -> Plan:
        """96 of 576 tokens, 32 in the second half."""
        middle = layer_at(target, 14, QWEN_LAYERS) if target.model_type in QWEN else layer_at(target, 16)
        return staged(
            Keep(
                layer=layer,
                **of_576(target, tokens),
                selector="apet",
                options={"basis": BASIS, "of": of},
                merge="apet",
                merge_options={"basis": BASIS, "of": of},
            )
            for layer, tokens, of in ((0, 96, "features"), (middle, 32, "states"))
        )
