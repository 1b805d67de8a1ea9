"""Method `fastv`: half of the tokens leave after two layers, those that the last prompt token attends to least."""

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import layer_at
from halfv_core.plan import Keep, Plan


@METHODS.register("fastv")
class FastV(Staged):
    """One Keep by attention of the last token in the layer before."""

    title = "FastV"
    source = "arXiv 2403.06764, ECCV 2024"
    looks_at = "attention of the last prompt token, layer before"
    where = "layer 2"
    question_aware = True
    note = "K 2 and 50 % as in its README; forks take K 3 and keep 50 % or 25 %, and its paper asks the mean query"

    def default(self, target: Target) -> Plan:
        """Half of the tokens from layer 2 on."""
        return Plan((Keep(layer=layer_at(target, 2), keep_ratio=0.5, selector="attention"),))
