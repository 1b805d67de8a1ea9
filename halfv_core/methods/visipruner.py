"""Method `visipruner`: visual tokens rest in shallow layers, and are pruned once some matter, and once none does."""

from halfv_core.errors import PlanError
from halfv_core.methods.base import METHODS, Method, Target
from halfv_core.methods.settings import layer_at
from halfv_core.plan import Hide, Plan, Selection, When


@METHODS.register("visipruner")
class VisiPruner(Method):
    """A Hide and two Whens; how much is pruned is decided for each prompt in the run."""

    title = "VisiPruner"
    source = "arXiv 2510.17205, EMNLP 2025"
    looks_at = "each visual token's part in the last prompt token's attention output"
    where = "layers 1 to 5 of 32, and from layer 8 on where its rules hold"
    question_aware = True
    note = (
        "in its shallow layers text does not see visual tokens, which go on seeing each other; here they rest. What it "
        "masks in layer 0 is left out. Its threshold of 0.2 depends on the scale of the model's values"
    )

    def default(self, target: Target) -> Plan:
        """Thresholds 0.995, 0.2 and 0.999 twice, for all models."""
        shallow = range(1, layer_at(target, 6, first=2))
        filtered = max(layer_at(target, 8), shallow.stop + 1)
        chosen = Selection(selector="visipruner", options={"threshold": 0.2})
        nothing = Selection(keep_ratio=0.0)
        return Plan(
            (
                Hide(layers=shallow),
                When(rule="contribution", options={"threshold": 0.995}, from_layer=filtered, then=chosen),
                When(rule="exhausted", options={"threshold": 0.999, "layers": 2}, from_layer=filtered, then=nothing),
            )
        )

    def scaled(self, target: Target, knob: float) -> Plan:
        """Refused: there is no knob whose cost is known beforehand."""
        raise PlanError(
            "VisiPruner has no budget: it decides in the run how much it prunes",
            remedy="compare it at its default, by the FLOPs that were measured",
        )
