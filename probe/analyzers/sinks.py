"""Attention sinks: tokens whose hidden state is many times as long as that of the others, and the entropy without them.

    norm_i        |x_i|_2 of token i's hidden state at the input of a layer, before the final norm
    norm ratio    max norm_i / median norm_i           over one group of tokens, visual or text
    sink          norm_i > 10 median norm_i            in the same group

A few massive activations make such states (Sun et al., arXiv 2402.17762: values above 100 and above 1000 times the
median magnitude of the hidden state). Of D normally distributed features, one with 1000 times the median magnitude
alone is 674 / sqrt(D) times as long as all the others together: 10.5 times for D = 4096, from which the factor of 10
follows. The length needs no list of features and no scale of the model. The median is the group's own, because the
vision tower and the word embeddings enter the decoder on scales of their own; so at most half of a group are sinks.

One sink can hold most of the spread of its group. Whether entropies after the final norm, which makes all tokens about
equally long, still depend on sinks is what the entropy of the other tokens shows. Cost: one pass over the hidden states
for the norms (a hundredth of the entropies), and one more entropy of the group for each layer that has a sink.
"""

from typing import NamedTuple

import torch

from probe.analyzers.tme import truncated_matrix_entropy

SINK_RATIO = 10.0
"""A token is a sink if its norm is more than this many times the median norm of its group."""


class SinkCurves(NamedTuple):
    """The sinks of one group of tokens, layer by layer: (L+1,) each, on the CPU, in the order of `records.Sinks`."""

    tokens: torch.Tensor
    """Number of sinks, int64."""
    norm_ratio: torch.Tensor
    """Largest norm divided by the median norm, float64."""
    entropy_without: torch.Tensor
    """Truncated matrix entropy of the other tokens, nats, float64."""


def token_norms(hidden: torch.Tensor) -> torch.Tensor:
    """Length of every hidden state.

    Args:
        hidden: (..., D), of any dtype, before the final norm.

    Returns:
        (...), float64 on the CPU; at most the largest float32, beyond which the sum of squares overflows.
    """
    wide = torch.promote_types(hidden.dtype, torch.float32)
    norms: torch.Tensor = torch.linalg.vector_norm(hidden.detach(), dim=-1, dtype=wide)
    return norms.cpu().double().clamp(max=torch.finfo(torch.float32).max)


def sink_curves(
    norms: torch.Tensor, states: torch.Tensor, group: torch.Tensor, entropy: torch.Tensor, k: int = 50
) -> SinkCurves:
    """Find the sinks of one group at every layer, and measure the entropy without them.

    Args:
        norms: of all tokens, (L+1, N), as `token_norms` gives them.
        states: hidden states after the final norm, (L+1, N, D), finite.
        group: (N,) bool, the tokens of the group; at least one.
        entropy: of the whole group, (L+1,), nats; it is taken over where a layer has no sink.
        k: number of eigenvalues in the entropy.

    Returns:
        Where the median norm is 0 the ratio says nothing: it is 1 there, and no token is a sink.
    """
    members = group.nonzero()[:, 0]  # (G,)
    own = norms[:, members.to(norms.device)]  # (L+1, G)
    median = own.median(dim=-1).values  # (L+1,), the lower of the two in the middle
    sinks = (own > SINK_RATIO * median[:, None]) & (median > 0)[:, None]
    ratio = torch.where(median > 0, own.amax(-1) / median, 1.0)
    without = entropy.clone()
    for layer in sinks.any(-1).nonzero()[:, 0].tolist():
        others = members[~sinks[layer].to(members.device)]
        without[layer] = truncated_matrix_entropy(states[layer, others], k)
    return SinkCurves(sinks.sum(-1), ratio, without)
