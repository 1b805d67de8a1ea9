"""Method `uniform`: evenly spaced tokens, at layer 2 as FastV, which cover the image whatever it shows."""

from halfv_core.interventions import Keep
from halfv_core.methods.base import METHODS, Method, Target
from halfv_core.plan import Plan


@METHODS.register("uniform")
class Uniform(Method):
    """Keep evenly spaced tokens from layer 2 on."""

    title = "uniform"
    source = "control"
    looks_at = "the order of the tokens"
    where = "layer 2"
    question_aware = False

    def default(self, target: Target) -> Plan:
        """Half of the tokens."""
        return self.scaled(target, 0.5)

    def scaled(self, target: Target, knob: float) -> Plan:
        """The knob is the share of tokens that are kept."""
        return Plan((Keep(layer=2, keep_ratio=knob, selector="uniform"),))
