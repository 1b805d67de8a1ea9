"""Method `halfv`: one pruning in early layers, and in late ones a freeze or a second pruning: this project's own plan.

These are the settings of the paper's release. A calibration finds the layers and the treatment by measuring.
"""

from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

from halfv_core.methods.base import METHODS, Method, Target
from halfv_core.methods.settings import QWEN, QWEN_LAYERS, distinct, layer_at
from halfv_core.plan import Freeze, Keep, Option, Plan


@METHODS.register("halfv")
@dataclass(frozen=True)
class HalfV(Method):
    """A Keep by anchors and coverage, then a Freeze, or a Keep by attention for decoders of the Qwen kind."""

    title = "HalfV"
    source = "arXiv 2604.16462, ACL 2026"
    looks_at = "attention of the last prompt token, and distance of hidden states"
    where = "layers 3 and 15 of 32 (LLaVA-NeXT: 2 and 16; Qwen2.5-VL: 2 and 21 of 28)"
    question_aware = True
    note = (
        "the release's settings and its unscaled scores; other families take those of Qwen2.5-VL (Qwen) or LLaVA-1.5, "
        "at the same depth. Its released code runs for Qwen2.5-VL only, and scores text as visual tokens in late layers"
    )

    early: int | None = None
    """First layer of Stage II, where tokens are pruned; None for the release's."""
    late: int | None = None
    """First layer of Stage III, likewise."""
    treatment: str | None = None
    """What happens to the tokens in Stage III: `freeze`, or `few`, a second pruning; None for the release's."""

    def variants(self, target: Target) -> "tuple[HalfV, ...]":
        """By where Stage II and Stage III begin and by the treatment, which the paper finds for each model."""
        layers = target.shape.layers
        places = product((None, max(1, layers // 6)), (layers * 5 // 12, layers * 7 // 12), ("freeze", "few"))
        return distinct(
            target,
            (self, *(replace(self, early=early, late=late, treatment=treatment) for early, late, treatment in places)),
        )

    def default(self, target: Target) -> Plan:
        """The release's settings for the most similar of its three models."""
        return self._plan(target, 0.25 if target.model_type in QWEN else 0.5)

    def scaled(self, target: Target, knob: float) -> Plan:
        """The knob is the share that the early pruning keeps; late layers are treated as by default."""
        return self._plan(target, knob)

    def _plan(self, target: Target, share: float) -> Plan:
        release = _release(target)
        early = release.early if self.early is None else self.early
        late = release.late if self.late is None else self.late
        first = _early(early, share, release.anchors)
        if (self.treatment or release.treatment) == "freeze":
            return Plan((first, Freeze(layers=range(late, target.shape.layers))))
        options: dict[str, Option] = {"scoring": "release"}
        last = Keep(layer=late, keep_ratio=min(share, 0.05), selector="attention", options=options)
        return Plan((first, last) if late > early else (last,))


class Release(NamedTuple):
    """The settings of the release for a model."""

    early: int
    late: int
    anchors: float
    """Share of the kept tokens that are anchors."""
    treatment: str


def _release(target: Target) -> Release:
    if target.model_type in QWEN:
        return Release(layer_at(target, 2, QWEN_LAYERS), layer_at(target, 21, QWEN_LAYERS), 0.1, "few")
    if target.model_type == "llava_next":
        return Release(layer_at(target, 2), layer_at(target, 16), 0.1, "freeze")
    if target.model_type == "llava" and target.shape.layers == 40:  # the same layers for 7B and 13B
        return Release(3, 15, 0.2, "freeze")
    return Release(layer_at(target, 3), layer_at(target, 15), 0.2, "freeze")


def _early(layer: int, share: float, anchors: float) -> Keep:
    options = {"anchor_share": anchors, "scoring": "release"}
    return Keep(layer=layer, keep_ratio=share, selector="anchor_coverage", options=options)
