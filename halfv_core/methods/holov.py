"""Method `holov`: each stretch of the token sequence keeps its most attended tokens, by a quota."""

from dataclasses import dataclass, replace

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import QWEN, distinct, of_576, tower_layer
from halfv_core.plan import Keep, Plan


@METHODS.register("holov")
@dataclass(frozen=True)
class HoloV(Staged):
    """One Keep at layer 0."""

    title = "HoloV"
    source = "arXiv 2510.02912, NeurIPS 2025"
    looks_at = "attention of the vision tower, and spread of the projector's outputs"
    where = "before the decoder"
    question_aware = False
    note = "chosen tokens stay in reading order; what its code fills with zeros goes to the next most attended tokens"

    chunks: int | None = None
    """Number of stretches, 0 for its rule; None for what its code does for the model."""

    def variants(self, target: Target) -> "tuple[HoloV, ...]":
        """By the number of stretches, which its code sets for each model: by a rule, or 16."""
        return distinct(target, (self, *(replace(self, chunks=chunks) for chunks in (0, 4, 8, 16, 32))))

    def default(self, target: Target) -> Plan:
        """64 of 576 tokens in 16 stretches; for Qwen, in as many as its rule says."""
        chunks = (0 if target.model_type in QWEN else 16) if self.chunks is None else self.chunks
        options = {"chunks": chunks, "beta": 0.09, "layer": tower_layer(target)}
        return Plan((Keep(layer=0, **of_576(target, 64), selector="holov", options=options),))
