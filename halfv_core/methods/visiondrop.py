"""Method `visiondrop`: VisionZip's rule before the decoder, and by visual tokens alone in three of its layers."""

from dataclasses import dataclass, replace

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import DEPTHS, distinct, layer_at, of_576, share_of, staged, tower_layer
from halfv_core.plan import Keep, Plan


@METHODS.register("visiondrop")
@dataclass(frozen=True)
class VisionDrop(Staged):
    """Four Keeps with merges."""

    title = "VisionDrop"
    source = "AAAI 2026"
    looks_at = "attention among visual tokens, in the vision tower and in the own layer"
    where = "before the decoder, and layers 8, 16 and 24 of 32"
    question_aware = False
    note = "42 + 6, 30 + 5, 22 + 4 and 16 + 3 tokens, as in its script for GQA: 32 on average over layers"

    depth: float = 1.0
    """Factor on the published layers in the decoder."""
    contextual: float | None = None
    """Share of the kept tokens that are contextual; None for the published numbers."""

    def variants(self, target: Target) -> "tuple[VisionDrop, ...]":
        """By the layers, `layer_list`, and by the numbers of contextual tokens, both arguments of its code."""
        depths = (replace(self, depth=depth) for depth in DEPTHS)
        return distinct(target, (self, *depths, *(replace(self, contextual=share) for share in (0.05, 0.3))))

    def default(self, target: Target) -> Plan:
        """48, 35, 26 and 19 of 576 tokens, of which 6, 5, 4 and 3 are contextual."""
        layer = tower_layer(target)
        first = Keep(
            layer=0,
            **of_576(target, 48),
            selector="visionzip",
            options={"contextual_share": self._contextual(6, 48), "layer": layer},
            merge="visionzip",
            merge_options={"layer": layer},
        )
        later = (
            Keep(
                layer=layer_at(target, self.depth * layer),
                **of_576(target, tokens),
                selector="visiondrop",
                options={"contextual_share": self._contextual(contextual, tokens)},
                merge="visiondrop",
            )
            for layer, tokens, contextual in ((8, 35, 5), (16, 26, 4), (24, 19, 3))
        )
        return staged((first, *later))

    def _contextual(self, contextual: int, tokens: int) -> float:
        return share_of(contextual, tokens) if self.contextual is None else self.contextual
