"""What trials found, as plain numbers: how each case fared under a plan, and when that is safe."""

from collections.abc import Iterable
from typing import NamedTuple

from probe.common.resamples import with_replacement


class Thresholds(NamedTuple):
    """When a plan counts as safe."""

    min_agreement: float = 0.95
    max_log_likelihood_drop: float = 0.05


class Quality(NamedTuple):
    """What a plan costs in answers."""

    agreement: float
    """Share of cases whose greedy answer is the full model's."""
    log_likelihood_drop: float
    """Mean fall in the answer's log-likelihood, nats a token."""

    def within(self, thresholds: Thresholds) -> bool:
        """Whether this counts as safe."""
        return (
            self.agreement >= thresholds.min_agreement
            and self.log_likelihood_drop <= thresholds.max_log_likelihood_drop
        )


class Readings(NamedTuple):
    """What a plan does to each case, in the cases' order."""

    agrees: tuple[bool, ...]
    """Whether the greedy answer is the full model's."""
    drops: tuple[float, ...]
    """Fall in the answer's log-likelihood, nats a token."""

    def quality(self, chosen: Iterable[int] | None = None) -> Quality:
        """Means over the chosen cases, which may repeat; over all by default."""
        rows = list(range(len(self.drops)) if chosen is None else chosen)
        agreed, fallen = (sum(column[row] for row in rows) for column in self)
        return Quality(agreed / len(rows), fallen / len(rows))

    def safe_share(self, thresholds: Thresholds, seed: int = 0) -> float:
        """Share of bootstrap resamples of the cases in which this counts as safe."""
        draws = with_replacement(len(self.drops), seed).tolist()
        return sum(self.quality(chosen).within(thresholds) for chosen in draws) / len(draws)
