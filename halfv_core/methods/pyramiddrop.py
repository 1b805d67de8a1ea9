"""Method `pyramiddrop`: half of the tokens leave after each quarter of the decoder."""

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import layer_at, renumbered, staged
from halfv_core.plan import Keep, Plan


@METHODS.register("pyramiddrop")
class PyramidDrop(Staged):
    """Three Keeps by the last token's attention in their own layer."""

    title = "PyramidDrop"
    source = "arXiv 2410.17247, CVPR 2025"
    looks_at = "attention of the last prompt token, own layer"
    where = "layers 8, 16 and 24 of 32"
    question_aware = True
    note = "positions are counted anew, as in its code, except in families whose positions have several axes or kinds"

    def default(self, target: Target) -> Plan:
        """A half, a quarter and an eighth."""
        return staged(
            Keep(layer=layer_at(target, layer), keep_ratio=share, selector="pyramiddrop", positions=renumbered(target))
            for layer, share in ((8, 0.5), (16, 0.25), (24, 0.125))
        )
