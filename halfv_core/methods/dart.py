"""Method `dart`: tokens leave after two layers that are like others, as seen from eight pivots."""

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import Amount, layer_at, of_576
from halfv_core.plan import Keep, Plan


@METHODS.register("dart")
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

    def default(self, target: Target) -> Plan:
        """132 of 576 tokens, or 324 of LLaVA-NeXT's 2880."""
        amount: Amount = {"keep_ratio": 324 / 2880} if target.model_type == "llava_next" else of_576(target, 132)
        return Plan((Keep(layer=layer_at(target, 2), **amount, selector="dart", options={"order": "set"}),))
