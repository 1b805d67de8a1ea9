"""Method `holov`: each stretch of the token sequence keeps its most attended tokens, by a quota."""

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import QWEN, of_576, tower_layer
from halfv_core.plan import Keep, Plan


@METHODS.register("holov")
class HoloV(Staged):
    """One Keep at layer 0."""

    title = "HoloV"
    source = "arXiv 2510.02912, NeurIPS 2025"
    looks_at = "attention of the vision tower, and spread of the projector's outputs"
    where = "before the decoder"
    question_aware = False
    note = "chosen tokens stay in reading order; what its code fills with zeros goes to the next most attended tokens"

    def default(self, target: Target) -> Plan:
        """64 of 576 tokens in 16 stretches; for Qwen, in as many as its rule says."""
        options = {"chunks": 0 if target.model_type in QWEN else 16, "beta": 0.09, "layer": tower_layer(target)}
        return Plan((Keep(layer=0, **of_576(target, 64), selector="holov", options=options),))
