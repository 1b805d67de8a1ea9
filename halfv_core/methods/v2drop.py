"""Method `v2drop`: tokens that a layer changed least leave, in three layers."""

from dataclasses import dataclass, replace

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import DEPTHS, LLAVA_LAYERS, QWEN, QWEN_LAYERS, distinct, layer_at, staged
from halfv_core.plan import Keep, Plan

SHARES = {"llava": (0.5, 0.25), "qwen": (0.25, 0.0125)}
"""Published shares of the first two stages."""


@METHODS.register("v2drop")
@dataclass(frozen=True)
class V2Drop(Staged):
    """Three Keeps, the last of one token."""

    title = "V2Drop"
    source = "CVPR 2026"
    looks_at = "how far the layer before moved each token"
    where = "layers 3, 17 and 22 of 32 (Qwen: 3, 16 and 22 of 28)"
    question_aware = False
    note = "its shares are of the tokens that are left, here of all; its share of 0 keeps one token"

    depth: float = 1.0
    """Factor on the published layers."""
    shares: str | None = None
    """Key of `SHARES`; None for the model's own."""

    def variants(self, target: Target) -> "tuple[V2Drop, ...]":
        """By the layers and by the shares, which its code sets for each model."""
        both = (replace(self, depth=depth, shares=shares) for depth in (1.0, *DEPTHS[1:]) for shares in SHARES)
        return distinct(target, (self, *both))

    def default(self, target: Target) -> Plan:
        """A half, a quarter, and one token; for Qwen a quarter, an eightieth, and one token."""
        qwen = target.model_type in QWEN
        published, of = ((3, 16, 22), QWEN_LAYERS) if qwen else ((3, 17, 22), LLAVA_LAYERS)
        first, second, last = (layer_at(target, self.depth * layer, of) for layer in published)
        shares = SHARES[self.shares or ("qwen" if qwen else "llava")]
        return staged(
            (
                Keep(layer=first, keep_ratio=shares[0], selector="v2drop"),
                Keep(layer=second, keep_ratio=shares[1], selector="v2drop"),
                Keep(layer=last, tokens=1, selector="v2drop"),
            )
        )
