"""Method `pyramiddrop`: half of the tokens leave after each quarter of the decoder."""

from dataclasses import dataclass, replace

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import DEPTHS, distinct, layer_at, renumbered, staged
from halfv_core.plan import Keep, Plan


@METHODS.register("pyramiddrop")
@dataclass(frozen=True)
class PyramidDrop(Staged):
    """Three Keeps by the last token's attention in their own layer."""

    title = "PyramidDrop"
    source = "arXiv 2410.17247, CVPR 2025"
    looks_at = "attention of the last prompt token, own layer"
    where = "layers 8, 16 and 24 of 32"
    question_aware = True
    note = "positions are counted anew, as in its code, except in families whose positions have several axes or kinds"

    depth: float = 1.0
    """Factor on the published layers."""
    ratio: float = 0.5
    """Share of the tokens that each stage leaves to the next one."""

    def variants(self, target: Target) -> "tuple[PyramidDrop, ...]":
        """By the layers, `layer_list`, and by the ratio, lambda in its paper: `image_token_ratio_list`."""
        ratios = (0.5, 0.7)
        return distinct(
            target,
            (self, *(replace(self, depth=depth, ratio=ratio) for depth in (*DEPTHS[:3], 1.0) for ratio in ratios)),
        )

    def default(self, target: Target) -> Plan:
        """A half, a quarter and an eighth."""
        return staged(
            Keep(
                layer=layer_at(target, self.depth * 8 * stage),
                keep_ratio=self.ratio**stage,
                selector="pyramiddrop",
                positions=renumbered(target),
            )
            for stage in (1, 2, 3)
        )
