"""Method `divprune`: tokens that are far from each other stay, chosen before the decoder."""

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.plan import Keep, Plan


@METHODS.register("divprune")
class DivPrune(Staged):
    """One Keep at layer 0."""

    title = "DivPrune"
    source = "arXiv 2503.02175, CVPR 2025"
    looks_at = "distance of the projector's outputs"
    where = "before the decoder"
    question_aware = False
    note = "the number of tokens is rounded down, not to the nearest"

    def default(self, target: Target) -> Plan:
        """9.8 % of the tokens, for all models."""
        return Plan((Keep(layer=0, keep_ratio=0.098, selector="divprune"),))
