"""Visual attention sinks: visual tokens with massive activations in the same channels as the first token.

    sink channels = the two channels d with the largest median over the states of |x_d| / |x|_2 of the first token
    r_d(x) = |x_d| / RMS of the channels of x that are no sink channels             x: a hidden state before a layer
    sink = a token with max over sink channels d of r_d(x) > 20

VisAttnSink ("See What You Are Told", arXiv 2503.03321, ICLR 2025) lists the channels of the two sizes of Llama 2 (Sun
et al., arXiv 2402.17762), and divides by the RMS of all channels. That quotient is at most sqrt(D), so that its
threshold of 20 cannot be reached in a model of fewer than 400 channels; here the massive channels themselves are left
out of the RMS. In a model of 4096 channels one massive channel then passes at 19.1 instead of 20. The first token sees
only itself, so that its states, and with them the channels, are the same for all prompts that begin with the same text
token. Cost: none beside the hidden states.
"""

import math
from typing import Any

import torch

from halfv_core.precision import widened
from probe.analyzers.sinks import token_norms
from probe.capture.prompt_run import PromptRun

THRESHOLD = 20.0
"""Times the RMS of the other channels, above which an activation is massive."""
CHANNELS = 2
"""Sink channels that are looked for."""

LLAMA_2 = {4096: (1415, 2533), 5120: (2100, 4743)}
"""Published channels of Llama 2 and Vicuna, 7B and 13B, by the width."""
_LLAMA_2_VOCABULARY = range(32000, 32100)
"""Llama 2 has 32,000 tokens, to which LLaVA checkpoints add a few."""


def sink_channels(first: torch.Tensor, config: Any = None) -> torch.Tensor:
    """The sink channels of a model.

    Args:
        first: (S, D), the first token's states.
        config: of the decoder, by which one with published channels is recognised.

    Returns:
        (2,) int64, ascending, on the CPU.
    """
    known = getattr(config, "model_type", "") == "llama" and config.vocab_size in _LLAMA_2_VOCABULARY
    if known and first.shape[-1] in LLAMA_2:
        return torch.tensor(LLAMA_2[first.shape[-1]])
    relative = _wide(first) / _at_least_tiny(token_norms(first)[:, None])  # (S, D)
    return relative.median(0).values.topk(CHANNELS).indices.sort().values


def massiveness(states: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
    """r_d of hidden states (..., D) in the c < D sink channels (c,): (..., c) float64 on the CPU."""
    channels = channels.to(states.device)
    others = token_norms(states.index_fill(-1, channels, 0.0)) / math.sqrt(states.shape[-1] - len(channels))
    return _wide(states[..., channels]) / _at_least_tiny(others[..., None])


def are_sinks(states: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
    """Which tokens are sinks: (..., D) hidden states and (c,) sink channels -> (...) bool on the CPU."""
    return massiveness(states, channels).amax(-1) > THRESHOLD


def model_channels(run: PromptRun) -> torch.Tensor:
    """The sink channels of a run's model, (2,), by the run's first token."""
    return sink_channels(run.states[:, 0], run.parts.decoder.config)


def visual_sinks(run: PromptRun) -> torch.Tensor:
    """(L, V) bool: which visual tokens are sinks at the input of each layer."""
    channels, visual = model_channels(run), run.visual.to(run.states.device)
    return torch.stack([are_sinks(state[visual], channels) for state in run.states[:-1]])


def _wide(states: torch.Tensor) -> torch.Tensor:
    return widened(states.detach()).cpu().double().abs()


def _at_least_tiny(lengths: torch.Tensor) -> torch.Tensor:
    """A state without other channels is massive, not infinitely so; one of zeros is not."""
    return lengths.clamp(min=torch.finfo(torch.float32).tiny)
