"""Method `hiprune`: tokens that a middle and a deep layer of the vision tower attend to stay, with neighbours."""

from dataclasses import dataclass, replace

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import QWEN, Amount, distinct, of_576, tower_layer, tower_layer_at
from halfv_core.plan import Keep, Plan


@METHODS.register("hiprune")
@dataclass(frozen=True)
class HiPrune(Staged):
    """One Keep at layer 0."""

    title = "HiPrune"
    source = "arXiv 2508.00553, ACL 2026 Findings"
    looks_at = "attention that tokens get in two layers of the vision tower"
    where = "before the decoder"
    question_aware = False
    note = "the first of its settings, 192 of 576 tokens or 0.334 for Qwen2.5-VL"

    alpha: float = 0.1
    """Share of the kept tokens that are anchors or buffers."""
    object_layer: int | None = None
    """Middle layer of the vision tower; None for the published depth."""

    def variants(self, target: Target) -> "tuple[HiPrune, ...]":
        """By alpha and by the object layer: HIPRUNE_ALPHA and HIPRUNE_OBJECT_LAYER of its README."""
        alphas = (replace(self, alpha=alpha) for alpha in (0.0, 0.3, 0.5))
        layers = (replace(self, object_layer=tower_layer_at(target, quarter, 4)) for quarter in (0, 1, 2, 3))
        return distinct(target, (self, *alphas, *layers))

    def default(self, target: Target) -> Plan:
        """A third of the tokens; for LLaVA-NeXT 640 of 2880."""
        qwen = target.model_type in QWEN
        published = tower_layer_at(target, 16, 32) if qwen else tower_layer_at(target, 9, 24)
        options = {
            "alpha": self.alpha,
            "object_layer": published if self.object_layer is None else self.object_layer,
            "deep_layer": tower_layer(target),
        }
        amount: Amount = (
            {"keep_ratio": 0.334} if qwen else of_576(target, 128 if target.model_type == "llava_next" else 192)
        )
        return Plan((Keep(layer=0, **amount, selector="hiprune", options=options),))
