"""Method `vispruner`: tokens that the vision tower attends to stay, and of the others those that resemble none."""

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import of_576, tower_layer
from halfv_core.plan import Keep, Plan


@METHODS.register("vispruner")
class VisPruner(Staged):
    """One Keep at layer 0."""

    title = "VisPruner"
    source = "arXiv 2412.01818, ICCV 2025"
    looks_at = "attention of the vision tower, and similarity of its features"
    where = "before the decoder"
    question_aware = False
    note = "128 of 576 tokens, half of them important, is its first example; it has no default"

    def default(self, target: Target) -> Plan:
        """128 of 576 tokens."""
        options = {"important_share": 0.5, "layer": tower_layer(target)}
        return Plan((Keep(layer=0, **of_576(target, 128), selector="vispruner", options=options),))
