"""Starting weights of the decoder that make a small model learn in minutes instead of staying on plateaus.

Word embeddings start orthonormal, so that visual tokens can be aligned with single words. Attention starts "mimetic":
keys equal queries (alike tokens attend to each other) and outputs undo values (what is attended to is copied).
"""

from typing import Any

import torch

EMBEDDING_SCALE = 0.1  # root mean square of a word embedding's entries
QUERY_GAIN = 1.4  # sharper first attention


@torch.no_grad()
def initialise(model: Any) -> None:
    """Set the starting weights of a PreTrainedModel's decoder."""
    decoder = model.model.language_model
    _orthonormal(decoder.embed_tokens.weight)
    depth_scale = (2 * len(decoder.layers)) ** -0.5  # keeps the residual stream's size whatever the depth
    for layer in decoder.layers:
        _mimetic(layer.self_attn)
        layer.self_attn.o_proj.weight.mul_(depth_scale)
        layer.mlp.down_proj.weight.mul_(depth_scale)


def _orthonormal(embedding: torch.Tensor) -> None:
    """Orthogonal rows; needs a vocabulary no larger than the hidden size."""
    size, width = embedding.shape
    assert size <= width, f"{size} words cannot be orthogonal in {width} dimensions"
    embedding.copy_(torch.linalg.qr(torch.randn(width, width))[0][:size] * EMBEDDING_SCALE * width**0.5)


def _mimetic(attention: Any) -> None:
    """W_k = W_q of each group's first head, W_o = W_v transposed."""
    width = attention.head_dim
    query = attention.q_proj.weight.unflatten(0, (-1, width))  # (heads, width, D), views of the parameters
    key = attention.k_proj.weight.unflatten(0, (-1, width))  # (groups, width, D)
    value = attention.v_proj.weight.unflatten(0, (-1, width))  # (groups, width, D)
    output = attention.o_proj.weight.unflatten(1, (-1, width))  # (D, heads, width)
    heads_per_group = len(query) // len(key)
    query.mul_(QUERY_GAIN)
    key.copy_(query[::heads_per_group])
    output.copy_(value.repeat_interleave(heads_per_group, 0).permute(2, 0, 1))
