"""Method `otprune`: tokens whose distribution is closest to that of all stay, chosen before the decoder."""

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.plan import Keep, Plan


@METHODS.register("otprune")
class OTPrune(Staged):
    """One Keep at layer 0."""

    title = "OTPrune"
    source = "arXiv 2602.20205, CVPR 2026"
    looks_at = "a determinant of the projector's outputs"
    where = "before the decoder"
    question_aware = False
    note = "the number of tokens is rounded down, not to the nearest"

    def default(self, target: Target) -> Plan:
        """9.8 % of the tokens, for all models."""
        return Plan((Keep(layer=0, keep_ratio=0.098, selector="otprune"),))
