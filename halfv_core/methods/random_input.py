"""Method `random-input`: any tokens, before the decoder: the floor for methods that prune there."""

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.plan import Keep, Plan


@METHODS.register("random-input")
class RandomInput(Staged):
    """Keep random tokens from layer 0 on."""

    title = "random, before the decoder"
    source = "control"
    looks_at = "nothing"
    where = "before the decoder"
    question_aware = False

    def default(self, target: Target) -> Plan:
        """Half of the tokens."""
        return Plan((Keep(layer=0, keep_ratio=0.5, selector="random"),))
