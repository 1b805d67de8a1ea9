"""Method `dart`: tokens leave after two layers that are like others, as seen from eight pivots."""

from dataclasses import dataclass, replace

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import Amount, distinct, early_layers, layer_at, of_576
from halfv_core.plan import Keep, Option, Plan


@METHODS.register("dart")
@dataclass(frozen=True)
class Dart(Staged):
    """One Keep."""

    title = "DART"
    source = "arXiv 2502.11494, EMNLP 2025"
    looks_at = "length of keys, and similarity of hidden states to pivots"
    where = "layer 2"
    question_aware = True
    note = (
        "its 128 tokens are 4 + 8 * 16 = 132, and its 320 are 324; pivots take their tokens in the order of a Python "
        "set, as in its code, which decides the result and waits for the device once"
    )

    layer: int | None = None
    """Where tokens leave; None for the published layer."""

    visual_pivots: int = 4
    """How many of the eight pivots are visual tokens; the others are text."""

    def variants(self, target: Target) -> "tuple[Dart, ...]":
        """By the layer, `pruned_layer`, and by what the pivots are, both arguments of its code."""
        layers = (replace(self, layer=layer) for layer in early_layers(target)[:6])
        return distinct(target, (self, *layers, *(replace(self, visual_pivots=count) for count in (0, 8))))

    def default(self, target: Target) -> Plan:
        """132 of 576 tokens, or 324 of LLaVA-NeXT's 2880."""
        amount: Amount = {"keep_ratio": 324 / 2880} if target.model_type == "llava_next" else of_576(target, 132)
        options: dict[str, Option] = {"order": "set"}
        if self.visual_pivots != 4:
            options |= {"visual_pivots": self.visual_pivots, "text_pivots": 8 - self.visual_pivots}
        layer = self.layer or layer_at(target, 2)
        return Plan((Keep(layer=layer, **amount, selector="dart", options=options),))
