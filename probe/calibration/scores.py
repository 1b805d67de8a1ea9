"""Scores: how good the answers under a plan are, sample by sample, next to the full model's.

    graded       the grade of the answer against the references, 0..1                   if all samples have references
    likelihood   exp(-max(0, fall in the log-likelihood of the full model's answer))    otherwise
    retention    sum of the scores under the plan / sum of the full model's scores

Under `likelihood` the full model's own score is what is left of it when only the order of arithmetic changes, under
another attention kernel. A plan is judged against that noise floor: in half precision, long answers change by rounding
alone. Grades need no floor, because rounding makes answers worse as often as better.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from probe.common.resamples import Indices, with_replacement
from probe.common.risk import CONFIDENCE, proven_ratio, proves_ratio
from probe.trials.readings import Quality

Array = NDArray[np.float64]
ScoreKind = Literal["graded", "likelihood"]

MIN_FULL_SCORE = 0.1
"""A full model that scores less against the references is judged by its own answers."""


@dataclass(frozen=True)
class Scores:
    """The scores of one plan on some samples."""

    kept: Array
    """(n,), 0..1, under the plan."""
    full: Array
    """(n,), 0..1, of the full model."""
    agrees: NDArray[np.bool_]
    """(n,), whether the greedy answer is the full model's."""
    drops: Array
    """(n,), drop in the log-likelihood of the full model's answer, nats per token."""

    @property
    def retention(self) -> float:
        """Share of the full model's score that is kept; 1 if the full model scores nothing."""
        return float(self.kept.sum() / self.full.sum()) if self.full.sum() else 1.0

    @property
    def quality(self) -> Quality:
        """Means of what does not depend on references."""
        return Quality(float(self.agrees.mean()), float(self.drops.mean()))

    def proven(self, confidence: float = CONFIDENCE) -> float:
        """Retention that the samples prove (see probe.common.risk)."""
        return proven_ratio(self.kept, self.full, confidence)

    def proves(self, retention: float, confidence: float = CONFIDENCE) -> bool:
        """Whether the samples prove at least this retention."""
        return proves_ratio(self.kept, self.full, retention, confidence)

    def reaching_share(self, retention: float, seed: int = 0) -> float:
        """Share of the bootstrap resamples in which this retention is reached."""
        draws: Indices = with_replacement(len(self.kept), seed)
        return float((self.kept[draws].sum(1) >= retention * self.full[draws].sum(1)).mean())

    def in_order(self, order: Sequence[int] | Indices) -> "Scores":
        """The same samples in another order."""
        chosen = np.asarray(order)
        return replace(
            self, kept=self.kept[chosen], full=self.full[chosen], agrees=self.agrees[chosen], drops=self.drops[chosen]
        )


@dataclass(frozen=True)
class Judged:
    """The scores of several plans on the same samples."""

    samples: tuple[str, ...]
    """Ids."""
    scores: tuple[Scores, ...]
    """One per plan."""
    floor: Array | None = None
    """(n,), loss 0..1 of the full model's answers under another attention kernel; None if not measured."""

    @property
    def noise_floor(self) -> float | None:
        """Mean of `floor`; None if it was not measured."""
        return float(self.floor.mean()) if self.floor is not None and len(self.floor) else None

    def and_other_plans(self, other: "Judged") -> "Judged":
        """These plans, and then others that were judged on the same samples."""
        return replace(self, scores=(*self.scores, *other.scores))

    def changed_ids(self, plan: int) -> frozenset[str]:
        """Ids of the samples whose answer differs under the plan with this index."""
        pairs = zip(self.samples, self.scores[plan].agrees.tolist(), strict=True)
        return frozenset(name for name, agrees in pairs if not agrees)
