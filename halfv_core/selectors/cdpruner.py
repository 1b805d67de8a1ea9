"""Selector `cdpruner`: the most diverse set of tokens, where tokens count for more the more relevant they are.

CDPruner (arXiv 2506.10967, NeurIPS 2025). A determinantal point process over the tokens as they enter the layer, whose
kernel is their cosine similarity times the relevance of both to the question. Relevance needs the text tower of the
CLIP checkpoint whose image tower the model has, and the model's tokenizer, to read the question; neither is downloaded.
It takes one (V, V) matrix, is question-aware, and belongs before the decoder.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from halfv_core.errors import PlanError
from halfv_core.selectors.base import SELECTORS, PromptSelector, Reading
from halfv_core.selectors.map_dpp import map_dpp
from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


@SELECTORS.register("cdpruner")
@dataclass(frozen=True)
class CDPruner(PromptSelector):
    """Choose tokens by greedy inference of a determinantal point process that is conditioned on the question."""

    clip: str = ""
    """Folder of the CLIP checkpoint whose image tower the model has, such as openai/clip-vit-large-patch14-336."""
    tokenizer: str = ""
    """Folder of the model's own tokenizer."""
    relevance: Literal["clip", "none"] = "clip"
    """`clip`: as in the original, except that it is told the question alone, and here the text behind the last image
    is read, with what a chat template adds; `none`: all tokens are equally relevant, so that the question is not
    read and no checkpoint is needed."""

    def __post_init__(self) -> None:
        if self.relevance == "clip" and not (self.clip and self.tokenizer):
            raise PlanError(
                "selector 'cdpruner' compares tokens with the question by a CLIP text tower, which the model lacks",
                expected="clip= and tokenizer=, folders of that CLIP checkpoint and of the model's tokenizer",
                remedy="or relevance='none', which ignores the question",
            )

    def choose(self, prompt: Prompt, count: int) -> "torch.Tensor":
        """See `PromptSelector.choose`."""
        states = prompt.hidden()[prompt.visual]
        return map_dpp(conditioned_kernel(states, self._relevance(prompt)), count)

    def reads(self) -> frozenset[Reading]:
        """See `Selector.reads`."""
        return frozenset({"vision"} if self.relevance == "clip" else ())

    def _relevance(self, prompt: Prompt) -> "torch.Tensor | None":
        if self.relevance == "none":
            return None
        from halfv_core.selectors import clip_relevance as by_clip

        clip, tokenizer = by_clip.load_clip(self.clip, prompt.device), by_clip.load_tokenizer(self.tokenizer)
        question: str = tokenizer.decode(prompt.question_ids().tolist(), skip_special_tokens=True).strip()
        images = by_clip.image_embeddings(clip, prompt.vision().features())
        return by_clip.relevance(images, by_clip.text_embeddings(clip, question))


def conditioned_kernel(states: "torch.Tensor", relevance: "torch.Tensor | None") -> "torch.Tensor":
    """(V, V) float32: cosine similarity of (V, D) states, times the (V,) relevance of both, if it is known."""
    from torch.nn.functional import normalize

    from halfv_core.precision import no_autocast, widened

    unit = normalize(widened(states), dim=-1)
    with no_autocast(unit.device):
        similarity = unit @ unit.mT
    return similarity if relevance is None else relevance[:, None] * similarity * relevance
