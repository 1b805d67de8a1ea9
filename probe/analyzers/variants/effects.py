"""What variants of a prompt do to the answer's first token: to the full model's likeliest next token, and to all."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from halfv_core.errors import DataError
from halfv_core.families import Parts
from probe.analyzers.next_token import head_logits
from probe.capture.changes import Variant
from probe.capture.prompt_run import PromptRun
from probe.capture.variants import run_variants

_AT_ONCE = 64
"""Distributions in memory: 150 MB of float64 at a vocabulary of 150,000, twice."""


class Effects(NamedTuple):
    """Of n variants. The token is the likeliest one under the full model."""

    change: torch.Tensor
    """(n,) float64: log-probability of the token, minus that under the full model; nats."""
    same: torch.Tensor
    """(n,) bool: the token is still the likeliest."""
    divergence: torch.Tensor
    """(n,) float64: KL(full || variant), nats."""
    log_odds: torch.Tensor
    """(n,) float64: log p / (1 - p) of the token, nats."""


class NextToken:
    """The distribution of a prompt's next token under the full model, with which others are compared."""

    def __init__(self, parts: Parts, state: torch.Tensor) -> None:
        """Take the full model's distribution.

        Args:
            parts: of the model.
            state: (1, D), the last token after the last layer.

        Raises:
            DataError: logits that are NaN or infinite.
        """
        self._parts = parts
        self._full = _log_probabilities(parts, [state])[0]
        self.token = int(self._full.argmax())
        self.log_probability = float(self._full[self.token])
        """Nats."""

    @classmethod
    def of(cls, run: PromptRun) -> "NextToken":
        """That of a prompt."""
        return cls(run.parts, run.calls.states[-1][0, -1:])

    def effects(self, states: torch.Tensor) -> Effects:
        """Compare with the full model.

        Args:
            states: (n, 1, D), the last token of n variants after the last layer.

        Raises:
            DataError: logits that are NaN or infinite.
        """
        found = [self._compared(_log_probabilities(self._parts, list(some))) for some in states.split(_AT_ONCE)]
        return Effects(*(torch.cat(values).cpu() for values in zip(*found, strict=True)))

    def against(self, other: int, states: torch.Tensor) -> torch.Tensor:
        """(n,) float64: log of the token's probability divided by that of another token, nats, in n variants.

        Args:
            states: see `effects`.

        Raises:
            DataError: logits that are NaN or infinite.
        """
        found = [_log_probabilities(self._parts, list(some)) for some in states.split(_AT_ONCE)]
        return torch.cat([rows[:, self.token] - rows[:, other] for rows in found]).cpu()

    def _compared(self, others: torch.Tensor) -> Effects:
        own = others[:, self.token]
        rest = others.clone()
        rest[:, self.token] = -torch.inf
        return Effects(
            change=own - self.log_probability,
            same=others.argmax(1) == self.token,
            divergence=(self._full.exp() * (self._full - others)).sum(1),
            log_odds=own - rest.logsumexp(1),
        )


def effects_of(run: PromptRun, variants: Sequence[Variant], *, rows: torch.Tensor | None = None) -> Effects:
    """Run variants of a prompt and compare them with the full model; see `run_variants`."""
    return NextToken.of(run).effects(run_variants(run.calls, variants, rows=rows))


@torch.no_grad()
def _log_probabilities(parts: Parts, states: Sequence[torch.Tensor]) -> torch.Tensor:
    """(1, D) each of n states -> (n, vocabulary) float64."""
    logits = head_logits(parts, states)
    if not logits.isfinite().all():
        raise DataError("logits are not finite", remedy="load the model in bfloat16 or float32")
    return logits.double().log_softmax(-1)
