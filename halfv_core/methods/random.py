"""Method `random`: any tokens, at layer 2 as FastV: the floor that every method inside the decoder has to be above."""

from dataclasses import dataclass, replace

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import distinct, early_layers, layer_at
from halfv_core.plan import Keep, Plan


@METHODS.register("random")
@dataclass(frozen=True)
class Random(Staged):
    """Keep random tokens from layer 2 on."""

    title = "random"
    source = "control"
    looks_at = "nothing"
    where = "layer 2"
    question_aware = False

    layer: int | None = None
    """Where tokens leave; None for the published layer."""

    def variants(self, target: Target) -> "tuple[Random, ...]":
        """By the layer, as FastV: a control is given what the methods are given."""
        return distinct(target, (self, *(replace(self, layer=layer) for layer in early_layers(target))))

    def default(self, target: Target) -> Plan:
        """Half of the tokens."""
        return Plan((Keep(layer=self.layer or layer_at(target, 2), keep_ratio=0.5, selector="random"),))
