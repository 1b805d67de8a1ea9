"""Method `visionzip`: tokens that the vision tower attends to stay, and the others are merged into some of them."""

from dataclasses import dataclass, replace

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import distinct, of_576, share_of, tower_layer
from halfv_core.plan import Keep, Plan


@METHODS.register("visionzip")
@dataclass(frozen=True)
class VisionZip(Staged):
    """One Keep with a merge at layer 0."""

    title = "VisionZip"
    source = "arXiv 2412.04467, CVPR 2025"
    looks_at = "attention and keys of the vision tower"
    where = "before the decoder"
    question_aware = False
    note = (
        "at its setting of 162 dominant and 30 contextual of 576 tokens; one of its dominant tokens is CLS itself, "
        "here one more patch"
    )

    contextual: float | None = None
    """Share of the kept tokens that are contextual; None for the published numbers."""

    def variants(self, target: Target) -> "tuple[VisionZip, ...]":
        """By how many of the tokens are contextual: its code has an argument for each kind."""
        return distinct(target, (self, *(replace(self, contextual=share) for share in (0.05, 0.3, 0.5))))

    def default(self, target: Target) -> Plan:
        """162 + 30 of 576 tokens; 108 + 20 in LLaVA-NeXT, whose tiles have as many each."""
        layer = tower_layer(target)
        dominant, contextual = (108, 20) if target.model_type == "llava_next" else (162, 30)
        share = share_of(contextual, dominant + contextual) if self.contextual is None else self.contextual
        keep = Keep(
            layer=0,
            **of_576(target, dominant + contextual),
            selector="visionzip",
            options={"contextual_share": share, "layer": layer},
            merge="visionzip",
            merge_options={"layer": layer},
        )
        return Plan((keep,))
