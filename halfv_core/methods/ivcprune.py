"""Method `ivcprune`: tokens at telling positions and with values like the question's stay, in all layers' caches."""

from dataclasses import dataclass, replace

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import distinct, early_layers, layer_at
from halfv_core.plan import Keep, Plan

LAYERS = {("qwen2_5_vl", 28): 16, ("qwen2_5_vl", 36): 22, ("qwen2_vl", 28): 2}
"""Published layers, by family and depth."""


@METHODS.register("ivcprune")
@dataclass(frozen=True)
class IVCPrune(Staged):
    """One Keep that cuts the caches of earlier layers too."""

    title = "IVC-Prune"
    source = "ICLR 2026"
    looks_at = "rotary positions, and similarity of values to the question's, layer before"
    where = "layer 16 of 32 (Qwen2.5-VL-7B: 16 of 28; 3B: 22 of 36; Qwen2-VL-7B: 2 of 28)"
    question_aware = True

    layer: int | None = None
    """Where tokens leave; None for the published layer."""

    def variants(self, target: Target) -> "tuple[IVCPrune, ...]":
        """By the layer, which its code sets for each model: 2, 16 or 22."""
        return distinct(target, (self, *(replace(self, layer=layer) for layer in early_layers(target))))

    def default(self, target: Target) -> Plan:
        """Half of the tokens."""
        layer = self.layer or LAYERS.get((target.model_type, target.shape.layers)) or layer_at(target, 16)
        return Plan((Keep(layer=layer, keep_ratio=0.5, selector="ivcprune", cache="everywhere"),))
