"""Method `transprune`: tokens that are transformed most and asked for most stay, in three layers of the first half."""

from dataclasses import dataclass, replace

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import DEPTHS, distinct, layer_at, staged
from halfv_core.plan import Keep, Plan


@METHODS.register("transprune")
@dataclass(frozen=True)
class TransPrune(Staged):
    """Three Keeps."""

    title = "TransPrune"
    source = "CVPR 2026"
    looks_at = "change of length and direction in each sub-layer, and attention of the question, own layer"
    where = "layers 7, 9 and 12 of 32"
    question_aware = True

    depth: float = 1.0
    """Factor on the published layers."""

    def variants(self, target: Target) -> "tuple[TransPrune, ...]":
        """By the layers, `pruning_layer_list` of its code."""
        return distinct(target, (self, *(replace(self, depth=depth) for depth in DEPTHS)))

    def default(self, target: Target) -> Plan:
        """7/8, 5/8 and 1/8; transitions count from the layer before the first of them."""
        return staged(
            Keep(layer=layer_at(target, self.depth * layer), keep_ratio=share, selector="transprune")
            for layer, share in ((7, 0.875), (9, 0.625), (12, 0.125))
        )
