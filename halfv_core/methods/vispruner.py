"""Method `vispruner`: tokens that the vision tower attends to stay, and of the others those that resemble none."""

from dataclasses import dataclass, replace

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import distinct, of_576, tower_layer
from halfv_core.plan import Keep, Plan


@METHODS.register("vispruner")
@dataclass(frozen=True)
class VisPruner(Staged):
    """One Keep at layer 0."""

    title = "VisPruner"
    source = "arXiv 2412.01818, ICCV 2025"
    looks_at = "attention of the vision tower, and similarity of its features"
    where = "before the decoder"
    question_aware = False
    note = "128 of 576 tokens, half of them important, is its first example; it has no default"

    important: float = 0.5
    """Share of the kept tokens that are chosen by attention."""

    def variants(self, target: Target) -> "tuple[VisPruner, ...]":
        """By the share of important tokens, `important_ratio` of its code."""
        return distinct(target, (self, *(replace(self, important=share) for share in (0.25, 0.75, 1.0))))

    def default(self, target: Target) -> Plan:
        """128 of 576 tokens."""
        options = {"important_share": self.important, "layer": tower_layer(target)}
        return Plan((Keep(layer=0, **of_576(target, 128), selector="vispruner", options=options),))
