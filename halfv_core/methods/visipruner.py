"""Method `visipruner`: visual tokens rest in shallow layers, and are pruned once some matter, and once none does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from halfv_core.errors import PlanError
from halfv_core.method_records import VisiPrunerSetting
from halfv_core.methods.base import METHODS, Method, Target
from halfv_core.methods.settings import layer_at
from halfv_core.plan import Hide, Option, Plan, Selection, When

EXIT_LAYERS = 2
"""Layers in which no token has to matter before all leave."""


@METHODS.register("visipruner")
@dataclass(frozen=True)
class VisiPruner(Method):
    """A Hide and two Whens; how much is pruned is decided for each prompt in the run."""

    title = "VisiPruner"
    source = "arXiv 2510.17205, EMNLP 2025"
    looks_at = "each visual token's part in the last prompt token's attention output"
    where = "layers 1 to 5 of 32, and from layer 8 on where its rules hold"
    question_aware = True
    needs = "nothing; a calibration can choose its layers and thresholds for a model"
    by_retention = True
    note = (
        "in its shallow layers text does not see visual tokens, which go on seeing each other; here they rest. What it "
        "masks in layer 0 is left out. Its threshold of 0.2 depends on the scale of the model's values"
    )

    thresholds: Literal["measured", "published"] = "measured"
    """Whether those that a calibration chose are taken, where there are some."""

    def default(self, target: Target) -> Plan:
        """Thresholds 0.995, 0.2 and 0.999 twice, for all models; or what was measured."""
        found = target.measured.visipruner
        if found is not None and self.thresholds == "measured":
            return visipruner_plan(target.shape.layers, found.hidden, found.setting)
        published = VisiPrunerSetting(
            first_layer=layer_at(target, 8), filter_below=0.995, keep_above=0.2, relative=False, exit_above=0.999
        )
        return visipruner_plan(target.shape.layers, layer_at(target, 6, first=2) - 1, published)

    def scaled(self, target: Target, knob: float) -> Plan:
        """Refused: there is no knob whose cost is known beforehand."""
        raise PlanError(
            "VisiPruner has no budget: it decides in the run how much it prunes",
            remedy="compare it at its default, by the FLOPs that were measured",
        )

    def variants(self, target: Target) -> Sequence[Method]:
        """With published thresholds too, where others were measured."""
        published = VisiPruner("published")
        return (self,) if published.default(target) == self.default(target) else (self, published)


def visipruner_plan(layers: int, hidden: int, setting: VisiPrunerSetting | None) -> Plan:
    """The plan with settings of one's own, for a decoder of so many layers.

    Args:
        hidden: number of layers, from layer 1 on, in which the visual tokens rest.
        setting: when tokens are pruned, and which are kept; None if they never are.
    """
    parts: list[Hide | When] = [Hide(layers=range(1, 1 + hidden))] if hidden else []
    if setting is None:
        return Plan(parts)
    # A rule reads the layer before, and there are no visual tokens in a shallow one.
    first = max(setting.first_layer, hidden + 2 if hidden else 1)
    if first >= layers:
        return Plan(parts)
    keep: dict[str, Option] = {"threshold": setting.keep_above}
    if setting.relative:
        keep["relative"] = True
    chosen = Selection(selector="visipruner", options=keep)
    parts.append(When(rule="contribution", options={"threshold": setting.filter_below}, from_layer=first, then=chosen))
    if setting.exit_above is not None:
        options: dict[str, Option] = {"threshold": setting.exit_above, "layers": EXIT_LAYERS}
        parts.append(When(rule="exhausted", options=options, from_layer=first, then=Selection(keep_ratio=0.0)))
    return Plan(parts)
