"""Method `hawk`: tokens stay that match the question in layer 0's heads, weighted by how much a head matters."""

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.plan import Keep, Option, Plan

QWEN2_5_VL_7B = (
    *(0.0875, 0.3, 0.048, 0.0321, 0.0104, 0.0102, 0.0336, 0.046, 0.054, 0.0472, 0.0234, 0.0537, 0.0109, 0.0573),
    *(0.0276, 0.0403, 0.0429, 0.0352, 0.0162, 0.0519, 0.0553, 0.0266, 0.0222, 0.048, 0.0337, 0.025, 0.0, 0.0224),
)
"""Published weights of the 28 query heads of Qwen2.5-VL-7B; their scale does not matter."""


@METHODS.register("hawk")
class Hawk(Staged):
    """One Keep at layer 0."""

    title = "HAWK"
    source = "arXiv 2604.07812, CVPR 2026"
    looks_at = "products of question queries and visual keys in layer 0, without positions"
    where = "before the decoder"
    question_aware = True
    needs = "nothing for Qwen2.5-VL-7B; else weights of heads, by switching each off; without them, heads count equally"
    note = "the number of tokens is rounded down, not up"

    def default(self, target: Target) -> Plan:
        """19.8 % of the tokens."""
        weights = target.measured.head_weights or _published(target)
        options: dict[str, Option] = {"head_weights": ",".join(f"{weight:g}" for weight in weights)} if weights else {}
        return Plan((Keep(layer=0, keep_ratio=0.198, selector="hawk", options=options),))


def _published(target: Target) -> tuple[float, ...]:
    shape = target.shape
    is_7b = (target.model_type, shape.layers, shape.query_width) == ("qwen2_5_vl", 28, 3584)
    return QWEN2_5_VL_7B if is_7b else ()
