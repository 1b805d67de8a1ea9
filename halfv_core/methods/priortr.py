"""Method `priortr`: tokens stay that the question attends to more than the first token after the image does."""

from dataclasses import dataclass, replace

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import QWEN, QWEN_LAYERS, Amount, distinct, early_layers, layer_at, of_576
from halfv_core.plan import Keep, Option, Plan


@METHODS.register("priortr")
@dataclass(frozen=True)
class PriorTR(Staged):
    """One Keep."""

    title = "PriorTR"
    source = "ECCV 2026"
    looks_at = "attention of the question, compared with attention before the question"
    where = "layer 3 (InternVL: 2)"
    question_aware = True
    note = "`question` rows for LLaVA-1.5, the last row for LLaVA-NeXT, all but the last for Qwen, as in its code"

    layer: int | None = None
    """Where tokens leave; None for the published layer."""

    mode: str | None = None
    """Whose attention counts, an option of the selector; None for what its code does for the model."""
    heads: str = "mean"
    """How heads are joined, likewise."""

    def variants(self, target: Target) -> "tuple[PriorTR, ...]":
        """By the layer, by the rows that ask and by how heads are joined: arguments of its code's runner."""
        layers = (replace(self, layer=layer) for layer in early_layers(target)[:5])
        modes = (replace(self, mode=mode) for mode in ("question", "last"))
        return distinct(target, (self, *layers, *modes, replace(self, heads="max")))

    def default(self, target: Target) -> Plan:
        """192 of 576 tokens; 320 of LLaVA-NeXT's 2880, and a ninth elsewhere."""
        options: dict[str, Option] = {"mode": "question"}
        amount: Amount = {"keep_ratio": 1 / 9}
        layer = layer_at(target, 3)
        if target.model_type == "llava":
            amount = of_576(target, 192)
        elif target.model_type == "llava_next":
            options = {"mode": "last"}
        elif target.model_type in QWEN:
            options, layer = {"mode": "question_but_last"}, layer_at(target, 3, QWEN_LAYERS)
        elif target.model_type == "internvl":
            options, layer = {"mode": "question", "prior_token": 2}, layer_at(target, 2, QWEN_LAYERS)
        options |= {"mode": self.mode} if self.mode else {}
        options |= {"heads": self.heads} if self.heads != "mean" else {}
        return Plan((Keep(layer=self.layer or layer, **amount, selector="priortr", options=options),))
