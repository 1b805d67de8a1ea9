"""Method `fastv`: half of the tokens leave after two layers, those that the last prompt token attends to least."""

from dataclasses import dataclass, replace

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import distinct, early_layers, layer_at
from halfv_core.plan import Keep, Plan


@METHODS.register("fastv")
@dataclass(frozen=True)
class FastV(Staged):
    """One Keep by attention of the last token in the layer before."""

    title = "FastV"
    source = "arXiv 2403.06764, ECCV 2024"
    looks_at = "attention of the last prompt token, layer before"
    where = "layer 2"
    question_aware = True
    note = "K 2 and 50 % as in its README; forks take K 3 and keep 50 % or 25 %, and its paper asks the mean query"

    layer: int | None = None
    """Where tokens leave; None for the published layer."""

    def variants(self, target: Target) -> "tuple[FastV, ...]":
        """By the layer, K in its paper, which tries several, and an argument of its code."""
        return distinct(target, (self, *(replace(self, layer=layer) for layer in early_layers(target))))

    def default(self, target: Target) -> Plan:
        """Half of the tokens from layer 2 on."""
        return Plan((Keep(layer=self.layer or layer_at(target, 2), keep_ratio=0.5, selector="attention"),))
