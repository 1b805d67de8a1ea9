"""Method `divprune`: tokens that are far from each other stay, chosen before the decoder."""

from dataclasses import dataclass, replace

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import distinct, early_layers
from halfv_core.plan import Keep, Plan


@METHODS.register("divprune")
@dataclass(frozen=True)
class DivPrune(Staged):
    """One Keep at layer 0."""

    title = "DivPrune"
    source = "arXiv 2503.02175, CVPR 2025"
    looks_at = "distance of the projector's outputs"
    where = "before the decoder"
    question_aware = False
    note = "the number of tokens is rounded down, not to the nearest"

    layer: int = 0
    """Where tokens leave."""

    def variants(self, target: Target) -> "tuple[DivPrune, ...]":
        """By the layer, which is a setting of its code."""
        return distinct(target, (self, *(replace(self, layer=layer) for layer in early_layers(target))))

    def default(self, target: Target) -> Plan:
        """9.8 % of the tokens, for all models."""
        return Plan((Keep(layer=self.layer, keep_ratio=0.098, selector="divprune"),))
