"""Method `aim`: similar tokens are merged before the decoder, and the least important ones leave in its second half."""

from dataclasses import dataclass, replace

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import distinct, layer_at, staged
from halfv_core.plan import Keep, Plan

MERGED = 0.25
"""Share of the tokens that is left before the decoder, after two halvings."""


@METHODS.register("aim")
@dataclass(frozen=True)
class AIM(Staged):
    """A Keep with a merge at layer 0, and eight Keeps from layer 15 to 22."""

    title = "AIM"
    source = "arXiv 2412.03248, ICCV 2025"
    looks_at = "similarity of the projector's outputs, then PageRank of the attention of all tokens"
    where = "before the decoder, and layers 15 to 22 of 32"
    question_aware = True
    note = "its code masks tokens in the decoder, without saving anything; here they are removed"

    start: int = 14
    """Layer of 32 after which tokens begin to leave in the decoder; eight layers later all of them are gone."""

    def variants(self, target: Target) -> "tuple[AIM, ...]":
        """By the first layer of the pruning in the decoder, a parameter of the paper's schedule."""
        return distinct(target, (self, *(replace(self, start=start) for start in (2, 6, 10, 18, 22))))

    def default(self, target: Target) -> Plan:
        """A quarter of the tokens, then an eighth of these less with each layer, and none from layer 22 on."""
        merging = Keep(layer=0, keep_ratio=MERGED, selector="aim_merging", merge="aim")
        later = (
            Keep(layer=layer_at(target, self.start + step), keep_ratio=MERGED * (1 - step / 8), selector="aim")
            for step in range(1, 9)
        )
        return staged((merging, *later))
