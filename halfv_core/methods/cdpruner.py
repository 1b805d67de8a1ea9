"""Method `cdpruner`: a diverse set of tokens stays, in which those count for more that the question asks for."""

from halfv_core.methods.base import METHODS, Staged, Target
from halfv_core.methods.settings import of_576
from halfv_core.plan import Keep, Option, Plan


@METHODS.register("cdpruner")
class CDPruner(Staged):
    """One Keep at layer 0."""

    title = "CDPruner"
    source = "arXiv 2506.10967, NeurIPS 2025"
    looks_at = "similarity of the projector's outputs, and of CLIP's image and text embeddings"
    where = "before the decoder"
    question_aware = True
    needs = "the CLIP checkpoint of the vision tower, with its text tower; without it, the question is not looked at"
    note = "128 of 576 tokens is its first example; it has no default. It reads all text behind the image"

    def default(self, target: Target) -> Plan:
        """128 of 576 tokens."""
        given = target.measured
        options: dict[str, Option] = {"relevance": "none"}
        if given.clip and given.tokenizer:
            options = {"clip": given.clip, "tokenizer": given.tokenizer}
        return Plan((Keep(layer=0, **of_576(target, 128), selector="cdpruner", options=options),))
