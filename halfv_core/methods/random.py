"""Method `random`: any tokens, at layer 2 as FastV: the floor that every method inside the decoder has to be above."""

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import layer_at
from halfv_core.plan import Keep, Plan


@METHODS.register("random")
class Random(Staged):
    """Keep random tokens from layer 2 on."""

    title = "random"
    source = "control"
    looks_at = "nothing"
    where = "layer 2"
    question_aware = False

    def default(self, target: Target) -> Plan:
        """Half of the tokens."""
        return Plan((Keep(layer=layer_at(target, 2), keep_ratio=0.5, selector="random"),))
