"""Attribution: how much the answer's first token should suffer if one visual token became the image's mean.

    attribution[j] = (x_j - mean) . d log-odds / d x_j        nats

x_j is the visual token as it enters layer 0, and the mean is that of the image's visual tokens: to first order, what
the log-odds log p / (1 - p) of the full model's first answer token lose. Where the model adds features of the vision
tower between layers, their own terms are added. llava-interp (arXiv 2410.07149) takes integrated gradients of 50 passes
and sums the absolute values of the channels, which grows with parts that cancel; here the channels are summed with
their signs, so that the numbers estimate an effect.

Cost: a forward and a backward pass of each layer, about three forward passes.
"""

import torch

from halfv_core.families import Parts
from halfv_core.precision import widened
from probe.analyzers.next_token import head_logits
from probe.capture.backward import gradients
from probe.capture.layer_calls import LayerCalls


def attribution(calls: LayerCalls, visual: torch.Tensor, token: int) -> torch.Tensor:
    """(V,) on the CPU.

    Args:
        calls: the run of a model that `has_gradients`.
        visual: (N,) bool, the V visual tokens.
        token: the answer's first token.
    """
    at_end = torch.zeros_like(calls.states[-1])
    at_end[0, -1:] = log_odds_gradient(calls.parts, calls.states[-1][0, -1:], token)
    found = gradients(calls, at_end)
    pairs = [(calls.states[0], found[0]), *zip(calls.features, found[1:], strict=False)]
    return sum(_loss(states, gradient, visual) for states, gradient in pairs)  # type: ignore[return-value]


def log_odds_gradient(parts: Parts, state: torch.Tensor, token: int) -> torch.Tensor:
    """(1, D) gradient of a token's log-odds with respect to the last token's state after the last layer, (1, D)."""
    state = state.detach().requires_grad_()
    with torch.enable_grad():
        logits = head_logits(parts, [state])[0].double()
        others = torch.cat([logits[:token], logits[token + 1 :]])
        odds = logits[token] - others.logsumexp(0)
    return torch.autograd.grad(odds, state)[0]


def _loss(states: torch.Tensor, gradient: torch.Tensor, visual: torch.Tensor) -> torch.Tensor:
    where = visual.to(states.device)
    own = widened(states[0, where])
    return ((own - own.mean(0)) * widened(gradient[0, where.to(gradient.device)]).to(own.device)).sum(-1).cpu()
