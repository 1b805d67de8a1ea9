"""Method `apet`: tokens that a few basis tokens explain worst stay, and the others are merged into them."""

from dataclasses import dataclass, replace

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import DEPTHS, LLAVA_LAYERS, QWEN, QWEN_LAYERS, distinct, layer_at, of_576, staged
from halfv_core.plan import Keep, Plan

BASIS = 10


@METHODS.register("apet")
@dataclass(frozen=True)
class ApET(Staged):
    """A Keep at layer 0 by the tower's features, and one in the middle by hidden states, both with a merge."""

    title = "ApET"
    source = "arXiv 2602.19870, CVPR 2026"
    looks_at = "error of approximation by basis tokens"
    where = "before the decoder, and layer 16 of 32 (Qwen: 14 of 28)"
    question_aware = False
    note = "96 and then 32 of 576 tokens, its README's example; the first basis token is fixed, not drawn"

    depth: float = 1.0
    """Factor on the published layer in the decoder."""

    def variants(self, target: Target) -> "tuple[ApET, ...]":
        """By the layer in the decoder, which its code sets for each model."""
        return distinct(target, (self, *(replace(self, depth=depth) for depth in DEPTHS)))

    def default(self, target: Target) -> Plan:
        """96 of 576 tokens, 32 in the second half."""
        middle, depth = (14, QWEN_LAYERS) if target.model_type in QWEN else (16, LLAVA_LAYERS)
        second = layer_at(target, self.depth * middle, depth)
        return staged(
            Keep(
                layer=layer,
                **of_576(target, tokens),
                selector="apet",
                options={"basis": BASIS, "of": of},
                merge="apet",
                merge_options={"basis": BASIS, "of": of},
            )
            for layer, tokens, of in ((0, 96, "features"), (second, 32, "states"))
        )
