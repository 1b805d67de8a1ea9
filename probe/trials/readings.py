"""Readings: what a plan does to the full model's answers, as plain values, and when that counts as safe."""

from collections.abc import Iterable
from typing import NamedTuple

from probe.common.resamples import with_replacement


class Thresholds(NamedTuple):
    """The limits within which a plan counts as safe."""

    min_agreement: float = 0.95
    """Smallest share of cases whose greedy answer is the full model's."""
    max_log_likelihood_drop: float = 0.05
    """Largest mean drop in the answer's log-likelihood, nats per token."""


class Quality(NamedTuple):
    """Answer quality under a plan, compared with the full model."""

    agreement: float
    """Share of cases whose greedy answer is the full model's."""
    log_likelihood_drop: float
    """Mean drop in the answer's log-likelihood, nats per token."""

    def within(self, thresholds: Thresholds) -> bool:
        """Whether the plan counts as safe."""
        return (
            self.agreement >= thresholds.min_agreement
            and self.log_likelihood_drop <= thresholds.max_log_likelihood_drop
        )


class Readings(NamedTuple):
    """Answer quality under a plan case by case, in the order of the cases."""

    agrees: tuple[bool, ...]
    """Whether the greedy answer is the full model's."""
    drops: tuple[float, ...]
    """Drop in the answer's log-likelihood, nats per token."""

    def quality(self, chosen: Iterable[int] | None = None) -> Quality:
        """Means over the cases with the chosen indices, which may repeat; over all cases by default."""
        rows = list(range(len(self.drops)) if chosen is None else chosen)
        agreed, dropped = (sum(column[row] for row in rows) for column in self)
        return Quality(agreed / len(rows), dropped / len(rows))

    def safe_share(self, thresholds: Thresholds, seed: int = 0) -> float:
        """Share of bootstrap resamples of the cases in which the plan counts as safe."""
        draws = with_replacement(len(self.drops), seed).tolist()
        return sum(self.quality(chosen).within(thresholds) for chosen in draws) / len(draws)
