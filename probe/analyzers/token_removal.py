"""Token removal: how many visual tokens could leave after each layer, by the attention that they get (FitPrune).

    m_text[l, j]     sum over the text after the image of the largest attention of a head to visual token j in layer l
    m_visual[l, j]   the same sum over the visual tokens
    tail(m)          the tokens with the smallest m, together at most the share alpha of the sum of m
    gone[l]          gone[l-1], and the tokens in both tail(m_text[l]) and tail(m_visual[l])

alpha is the one knob of the schedule ("Fit and Prune", arXiv 2409.10197, AAAI 2025): how much attention each layer may
lose. Tokens that are gone count as the first of each tail, so that what a layer loses includes them. The published code
searches alpha in steps of 0.01 for a budget; here the schedules of some alphas are kept, and budgets between them are
interpolated.
"""

from collections.abc import Mapping, Sequence

import torch
from transformers import PreTrainedModel

from halfv_core.families import Family
from halfv_core.selectors.attended import attention_received, question_rows
from halfv_core.selectors.prompt import Prompt
from probe.capture.layer_views import at_every_layer

ALPHAS = tuple(step / 20 for step in range(21))
"""Shares of attention that may be lost, ascending: from nothing to all."""


@torch.no_grad()
def token_removal(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    alphas: Sequence[float] = ALPHAS,
    *,
    family: Family | None = None,
) -> torch.Tensor:
    """The schedules of one prompt.

    It makes the attention weights of all text after the image and of all visual tokens in every layer, so that its cost
    grows with the square of their number.

    Args:
        inputs: model inputs, batch of one.
        alphas: A shares, ascending.

    Returns:
        (A, L) float32: share of the V visual tokens that is gone after each layer.

    Raises:
        UnsupportedError: tensor parallelism has put the heads into several processes.
    """
    received = at_every_layer(model, inputs, _received, family=family)
    from_text, from_visual = (torch.stack(rows) for rows in zip(*received, strict=True))
    return removed_shares(from_text, from_visual, alphas)


def removed_shares(from_text: torch.Tensor, from_visual: torch.Tensor, alphas: Sequence[float]) -> torch.Tensor:
    """Apply the rule above.

    Args:
        from_text: (L, V), `m_text`, not negative.
        from_visual: (L, V), `m_visual`.
        alphas: A shares of what may be lost.

    Returns:
        (A, L) float32.
    """
    limits = torch.tensor(alphas, dtype=torch.float64)[:, None]
    gone = torch.zeros(len(alphas), from_text.shape[1], dtype=torch.bool)
    shares = []
    for rows in zip(from_text.double(), from_visual.double(), strict=True):
        text, visual = (_tail(scores, gone, limits) for scores in rows)
        gone = gone | (text & visual)
        shares.append(gone.float().mean(1))
    return torch.stack(shares, dim=1)


def _tail(scores: torch.Tensor, gone: torch.Tensor, limits: torch.Tensor) -> torch.Tensor:
    """(V,) scores, (A, V) tokens that come first and (A, 1) shares of the sum -> (A, V) bool."""
    order = torch.where(gone, -1.0, scores).argsort(dim=1, stable=True)
    mass = scores[order].cumsum(1)
    within = mass <= limits * mass[:, -1:]
    return torch.zeros_like(gone).scatter(1, order, within)


def _received(prompt: Prompt) -> tuple[torch.Tensor, torch.Tensor]:
    """What the visual tokens get from the text after the image and from each other, (V,) each."""
    rows = question_rows(prompt), prompt.visual
    text, visual = (attention_received(prompt, each, "own", "max").cpu() for each in rows)
    return text, visual
