"""Method `scope`: tokens that cover the others best stay, weighted by the vision tower's attention."""

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import of_576, tower_layer
from halfv_core.plan import Keep, Plan


@METHODS.register("scope")
class Scope(Staged):
    """One Keep at layer 0."""

    title = "SCOPE"
    source = "arXiv 2510.24214, NeurIPS 2025"
    looks_at = "attention of the vision tower, and similarity of its features"
    where = "before the decoder"
    question_aware = False

    def default(self, target: Target) -> Plan:
        """64 of 576 tokens; for LLaVA-NeXT 160 of 2880."""
        options = {"layer": tower_layer(target)}
        return Plan(
            (
                Keep(
                    layer=0,
                    **of_576(target, 32 if target.model_type == "llava_next" else 64),
                    selector="scope",
                    options=options,
                ),
            )
        )
