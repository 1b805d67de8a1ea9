"""Method `sparsevlm+`: version 2 of SparseVLM's code, without a merge, by the heads that look at the image most."""

from dataclasses import dataclass, replace

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import distinct, layer_at, of_576, staged
from halfv_core.plan import Keep, Plan

SCHEDULES = {192: (300, 200, 118), 128: (238, 108, 60), 96: (246, 54, 28), 64: (66, 34, 20)}
"""Average number of tokens -> those that each stage of its code keeps for it, of 576."""


@METHODS.register("sparsevlm+")
@dataclass(frozen=True)
class SparseVLMPlus(Staged):
    """Three Keeps."""

    title = "SparseVLM+"
    source = "code of arXiv 2410.04417, version of December 2025"
    looks_at = "attention of the question's visual words in 14 heads, layer before"
    where = "layers 3, 7 and 16 of 32"
    question_aware = True
    note = (
        "at its setting of 192 tokens, which counts what leaves a layer; raters are found among the tokens that are "
        "left, not once"
    )

    schedule: int = 192
    """Which of the published schedules is scaled to the budget."""

    def variants(self, target: Target) -> "tuple[SparseVLMPlus, ...]":
        """By the schedule: those of its code are not multiples of each other."""
        return distinct(target, (self, *(replace(self, schedule=tokens) for tokens in SCHEDULES)))

    def default(self, target: Target) -> Plan:
        """300, 200 and 118 of 576 tokens, 192 on average over layers."""
        return staged(
            Keep(
                layer=layer_at(target, layer),
                **of_576(target, tokens),
                selector="sparsevlm",
                options={"version": 2},
            )
            for layer, tokens in zip((3, 7, 16), SCHEDULES[self.schedule], strict=True)
        )
