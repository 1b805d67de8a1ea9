"""Method `sparsevlm`: tokens that the visually relevant words ask for least leave in three layers, partly merged."""

from dataclasses import dataclass, replace

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import distinct, layer_at, of_576, renumbered, staged
from halfv_core.plan import Keep, Plan

SCHEDULES = {192: (300, 200, 110), 128: (303, 110, 36), 96: (238, 48, 26), 64: (66, 30, 17)}
"""Average number of tokens -> those that each stage of its code keeps for it, of 576."""


@METHODS.register("sparsevlm")
@dataclass(frozen=True)
class SparseVLM(Staged):
    """Three Keeps with a merge, version 1 of the code; `sparsevlm+` is version 2."""

    title = "SparseVLM"
    source = "arXiv 2410.04417, ICML 2025"
    looks_at = "attention of the question's visual words, layer before"
    where = "layers 3, 7 and 16 of 32"
    question_aware = True
    note = (
        "the paper's version, at its setting of 192 tokens, which counts what leaves a layer; raters are found among "
        "the tokens that are left, not once. Positions are counted anew, as in its code, except in families whose "
        "positions have several axes or kinds"
    )

    schedule: int = 192
    """Which of the published schedules is scaled to the budget."""

    def variants(self, target: Target) -> "tuple[SparseVLM, ...]":
        """By the schedule: those of its code are not multiples of each other."""
        return distinct(target, (self, *(replace(self, schedule=tokens) for tokens in SCHEDULES)))

    def default(self, target: Target) -> Plan:
        """300, 200 and 110 of 576 tokens, and the merged ones: 192 on average over layers."""
        return staged(
            Keep(
                layer=layer_at(target, layer),
                **of_576(target, tokens),
                selector="sparsevlm",
                options={"version": 1},
                merge="sparsevlm",
                positions=renumbered(target),
            )
            for layer, tokens in zip((3, 7, 16), SCHEDULES[self.schedule], strict=True)
        )
