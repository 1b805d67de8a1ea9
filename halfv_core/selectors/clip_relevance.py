"""Relevance of image tokens to a question, in the joint space of a CLIP checkpoint's image and text towers."""

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from halfv_core.errors import ModelError

if TYPE_CHECKING:
    import torch

MARGIN = 1e-6
"""What the least relevant token has left."""


class Clip(NamedTuple):
    """What is used of a CLIP checkpoint."""

    model: Any
    tokenizer: Any


@lru_cache(maxsize=1)
def load_clip(path: str, device: "torch.device") -> Clip:
    """A CLIP checkpoint from a folder, in float32; the latest one is kept in memory.

    Raises:
        ModelError: there is none.
    """
    from transformers import CLIPModel

    model = _load(CLIPModel, path, "a CLIP checkpoint")
    return Clip(model.float().eval().to(device), load_tokenizer(path))


@lru_cache(maxsize=2)
def load_tokenizer(path: str) -> Any:
    """A tokenizer from a folder.

    Raises:
        ModelError: there is none.
    """
    from transformers import AutoTokenizer

    return _load(AutoTokenizer, path, "a tokenizer")


def _load(kind: Any, path: str, what: str) -> Any:
    if not Path(path).is_dir():
        raise ModelError(f"{what} is needed", got=path, expected="a folder")
    try:
        return kind.from_pretrained(path, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"{what} cannot be read: {error}", got=path) from None


def text_embeddings(clip: Clip, text: str) -> "torch.Tensor":
    """(c, d) float32 embeddings of a text, cut into as many chunks as CLIP's context needs."""
    import torch
    from torch.nn.functional import pad

    length: int = clip.model.config.text_config.max_position_embeddings
    inputs = clip.tokenizer(text, return_tensors="pt")
    chunks = {}
    for name in ("input_ids", "attention_mask"):
        tokens = inputs[name][0]
        chunks[name] = pad(tokens, (0, -len(tokens) % length)).view(-1, length).to(clip.model.device)
    with torch.no_grad():
        pooled = clip.model.text_model(**chunks).pooler_output
        embeddings: torch.Tensor = clip.model.text_projection(pooled)
    return embeddings


def image_embeddings(clip: Clip, features: "torch.Tensor") -> "torch.Tensor":
    """(V, D_v) states of the image tower, such as the projector takes -> (V, d) float32 embeddings."""
    import torch

    width: int = clip.model.config.vision_config.hidden_size
    if features.shape[1] != width:
        raise ModelError(
            "the CLIP checkpoint is not that of the model's vision tower",
            got=f"width {width}",
            expected=f"width {features.shape[1]}",
        )
    with torch.no_grad():
        embeddings: torch.Tensor = clip.model.visual_projection(
            clip.model.vision_model.post_layernorm(features.float())
        )
    return embeddings


def relevance(images: "torch.Tensor", texts: "torch.Tensor") -> "torch.Tensor":
    """How much less each token resembles the text than the others do, as in CDPruner, which takes the negative cosine.

    Args:
        images: (..., V, d) embeddings of tokens.
        texts: (c, d) embeddings of the parts of a text.

    Returns:
        (..., V) from nearly 0 to 1, with the least and the largest of all; 1 if all are equal.
    """
    import torch
    from torch.nn.functional import normalize

    from halfv_core.precision import no_autocast, widened

    with no_autocast(images.device):
        found = -(normalize(widened(images), dim=-1) @ normalize(widened(texts), dim=-1).mT).mean(-1)
    least, most = found.amin(), found.amax()
    return torch.where(most > least, (found - least + MARGIN) / (most - least), torch.ones_like(found))
