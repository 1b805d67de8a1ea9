"""Method `sparsevlm+`: version 2 of SparseVLM's code, without a merge, by the heads that look at the image most."""

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import layer_at, of_576, staged
from halfv_core.plan import Keep, Plan


@METHODS.register("sparsevlm+")
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

    def default(self, target: Target) -> Plan:
        """300, 200 and 118 of 576 tokens, 192 on average over layers."""
        return staged(
            Keep(
                layer=layer_at(target, layer),
                **of_576(target, tokens),
                selector="sparsevlm",
                options={"version": 2},
            )
            for layer, tokens in ((3, 300), (7, 200), (16, 118))
        )
