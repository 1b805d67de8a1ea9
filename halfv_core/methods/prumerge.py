"""Method `prumerge`: tokens with outlying attention in the vision tower stay, with a grid, and take in others."""

from typing import Any

from halfv_core.methods.base import METHODS, Method, Target
from halfv_core.plan import Keep, Plan


@METHODS.register("prumerge")
class PruMerge(Method):
    """One Keep with a merge at layer 0; by default the number of tokens is found for each image in the run."""

    title = "PruMerge+"
    source = "arXiv 2403.15388, ICCV 2025"
    looks_at = "attention and keys of the vision tower's last layer"
    where = "before the decoder"
    question_aware = False
    note = (
        "the code's adaptive number; at a budget, the number of outliers with which it keeps as many tokens. The token "
        "that takes in what is left stands within the image, not behind it"
    )

    def default(self, target: Target) -> Plan:
        """As many tokens as the rule finds."""
        return _plan(selector="prumerge_adaptive")

    def scaled(self, target: Target, knob: float) -> Plan:
        """The knob is the share of the tokens that are kept, beside the one that takes in the rest."""
        return _plan(selector="prumerge", keep_ratio=knob)


def _plan(**choice: Any) -> Plan:
    return Plan((Keep(layer=0, merge="prumerge", **choice),))
