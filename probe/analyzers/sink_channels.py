"""Visual attention sinks: visual tokens with massive activations in the same channels as the first token.

    x^_d = x_d sqrt(D) / |x|_2                  a hidden state before a layer, RMS-normalised
    sink channels = the two channels d with the largest median over the states of |x^_d| of the first token
    sink          a token with max over sink channels of |x^_d| > t,    t = 20 min(1, sqrt(D / 4096))

VisAttnSink ("See What You Are Told", arXiv 2503.03321, ICLR 2025), which lists the channels of the two sizes of Llama 2
(Sun et al., arXiv 2402.17762) and takes t = 20 for all. As no |x^_d| exceeds sqrt(D), 20 cannot be reached where D <
400; here a sink is, in narrower models, a token with as large a share of its squared length in one channel as t = 20
means for D = 4096, a tenth. The first token sees only itself, so that its states, and with them the channels, are the
same for all prompts that begin with the same text token. Cost: none beside the hidden states.
"""

import math
from typing import Any

import torch

from halfv_core.precision import widened
from probe.analyzers.sinks import token_norms
from probe.capture.prompt_run import PromptRun

THRESHOLD = 20.0
"""Of the RMS-normalised activation, from 4096 channels on."""
WIDTH = 4096
"""Channels of the model for which the threshold was published."""
CHANNELS = 2
"""Sink channels that are looked for."""

LLAMA_2 = {4096: (1415, 2533), 5120: (2100, 4743)}
"""Published channels of Llama 2 and Vicuna, 7B and 13B, by the width."""
_LLAMA_2_VOCABULARY = range(32000, 32100)
"""Llama 2 has 32,000 tokens, to which LLaVA checkpoints add a few."""


def threshold_for(width: int) -> float:
    """t for a model of so many channels."""
    return THRESHOLD * min(1.0, math.sqrt(width / WIDTH))


def normalised(states: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
    """|x^_d| of states (..., D) in some channels (c,): (..., c) float64 on the CPU; 0 for a state of length 0."""
    norms = token_norms(states)[..., None]  # (..., 1)
    chosen = widened(states[..., channels.to(states.device)]).cpu().double().abs()
    return torch.where(norms > 0, chosen * math.sqrt(states.shape[-1]) / norms, 0.0)


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
    every = normalised(first, torch.arange(first.shape[-1]))  # (S, D)
    return every.median(0).values.topk(CHANNELS).indices.sort().values


def are_sinks(states: torch.Tensor, channels: torch.Tensor, threshold: float | None = None) -> torch.Tensor:
    """Which tokens are sinks.

    Args:
        states: (..., V, D), before a layer.
        channels: (c,).
        threshold: t, by default the one for this width.

    Returns:
        (..., V) bool on the CPU.
    """
    limit = threshold_for(states.shape[-1]) if threshold is None else threshold
    return normalised(states, channels).amax(-1) > limit


def model_channels(run: PromptRun) -> torch.Tensor:
    """The sink channels of a run's model, (2,), by the run's first token."""
    return sink_channels(run.states[:, 0], run.parts.decoder.config)


def visual_sinks(run: PromptRun) -> torch.Tensor:
    """(L, V) bool: which visual tokens are sinks at the input of each layer."""
    channels, visual = model_channels(run), run.visual.to(run.states.device)
    return torch.stack([are_sinks(state[visual], channels) for state in run.states[:-1]])
