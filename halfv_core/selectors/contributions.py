"""Value-aware contributions: how much of the last prompt token's attention output each visual token makes up.

VisiPruner (arXiv 2510.17205, EMNLP 2025). The selector `visipruner` and the rules `contribution` and `exhausted` use
it. It reads one row of attention and the values, in the layer that has just been passed.
"""

from typing import TYPE_CHECKING, NamedTuple

from halfv_core.selectors.prompt import Prompt

if TYPE_CHECKING:
    import torch


class Contributions(NamedTuple):
    """Of the visual tokens to the last prompt token, before the output projection and over all heads together."""

    norms: "torch.Tensor"
    """(V,) float32: length of each visual token's part."""
    cosines: "torch.Tensor"
    """(V,) float32: cosine similarity of the output with and without that part; 1 where it changes nothing."""
    output_norm: "torch.Tensor"
    """() float32: length of the output, the sum of all tokens' parts."""


def contributions(attention: "torch.Tensor", values: "torch.Tensor", visual: "torch.Tensor") -> Contributions:
    """Take the parts that visual tokens have in an attention output.

    Args:
        attention: (H, n), the weights of one query.
        values: (H_kv, n, d), where each of the H_kv value heads serves H / H_kv query heads that follow each other.
        visual: (V,) indices into the n tokens.
    """
    import torch

    from halfv_core.precision import widened

    weights, values = widened(attention), widened(values)
    values = values.repeat_interleave(len(weights) // len(values), dim=0)  # (H, n, d)
    output = torch.einsum("hn,hnd->hd", weights, values)
    parts = weights[:, visual, None] * values[:, visual]  # (H, V, d)
    without = output[:, None] - parts
    return Contributions(
        norms=parts.square().sum((0, 2)).sqrt(),
        cosines=torch.cosine_similarity(without.transpose(0, 1).flatten(1), output.flatten()[None], dim=1),
        output_norm=output.norm(),
    )


def contributions_in(prompt: Prompt) -> Contributions:
    """The contributions in the layer that a prompt has just passed."""
    last = prompt.question[-1:]
    return contributions(prompt.attention(last)[:, 0], prompt.values(), prompt.visual)
