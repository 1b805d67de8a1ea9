"""Method `uniform`: evenly spaced tokens, at layer 2 as FastV, which cover the image whatever it shows."""

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import layer_at
from halfv_core.plan import Keep, Plan


@METHODS.register("uniform")
class Uniform(Staged):
    """Keep evenly spaced tokens from layer 2 on."""

    title = "uniform"
    source = "control"
    looks_at = "the order of the tokens"
    where = "layer 2"
    question_aware = False

    def default(self, target: Target) -> Plan:
        """Half of the tokens."""
        return Plan((Keep(layer=layer_at(target, 2), keep_ratio=0.5, selector="uniform"),))
