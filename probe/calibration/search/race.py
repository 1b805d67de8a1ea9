"""The race: which plans are run on how many samples, and which of them go on.

Plans are compared with those of similar cost: at every goal, a cost ratio, the plans that save as much but no more than
a third more. The few that lose least lead there and are run on more samples (successive halving, Jamieson &
Talwalkar, 2016, arXiv 1502.07943). On few samples a bold plan may lose nothing by chance, so it does not drive out
milder ones, and what was predicted keeps some weight. All plans of a round are compared on the same samples.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from halfv_core.plan import Plan
from probe.analyzers.causal_curves import losses_of
from probe.calibration.search.candidate import Array, Candidate

GOALS = (1.5, 1.75, 2.0, 2.25, 2.5, 2.75, 3.0, 3.3, 3.6, 4.0, 4.5, 5.0, 6.0)
"""Cost ratios at which plans are compared."""
LOW_GOALS = (1.1, 1.25)
"""Likewise where plans save little, because most of the prompt is text, or none of the others keeps enough."""
FEW_GOALS = 2.0
"""Below this highest ratio, plans are compared at `LOW_GOALS` from the beginning."""
BAND = 1.3
"""A plan that saves more than a goal times this is not compared there."""
EXPECTED_WEIGHT = 0.5
"""Weight of a sample of the search, relative to one that a plan is judged on: the search's samples picked the plan."""
PRIOR_SAMPLES = 8
"""A prediction counts as much as so many samples: on few, losing nothing is mostly chance."""


@dataclass(frozen=True)
class Expectation:
    """What a plan was expected to keep before it was judged."""

    loss: float
    """0..1."""
    samples: float
    """Number of samples that this rests on, or counts as much as."""

    def mixed_with(self, retention: float, samples: int) -> float:
        """A retention on other samples, drawn towards the expected one."""
        weight = EXPECTED_WEIGHT * self.samples
        return (samples * retention + weight * (1.0 - self.loss)) / (samples + weight)


@dataclass(frozen=True, eq=False)
class Entrant:
    """A plan in the race."""

    plan: Plan
    ratio: float
    """Cost without the plan, divided by that with it."""
    candidate: Candidate | None = None
    """None for a plan that is not of the form that is searched."""
    predicted: float = 0.0
    """Predicted loss, 0..1, which counts as much as `PRIOR_SAMPLES` samples. Of a published method's plan, of which
    nothing is known before, it is the median of what plans of a similar cost lose on the first samples."""
    method: str | None = None
    """The published method whose plan it is."""

    @cached_property
    def key(self) -> str:
        """The plan as text; plans with the same text are the same."""
        return self.plan.model_dump_json()


def goals_up_to(highest: float, wanted: float | None = None) -> tuple[float, ...]:
    """The goals that plans can reach, with the one that the user wants.

    Args:
        highest: cost ratio of the cheapest plan.
        wanted: the user's target.
    """
    goals = {goal for goal in (*GOALS, *(LOW_GOALS if highest < FEW_GOALS else ())) if goal <= highest}
    return tuple(sorted(goals | ({wanted} if wanted is not None else set())))


def leaders(
    entrants: Iterable[Entrant], loss: Callable[[Entrant], float], goals: Sequence[float], count: int
) -> list[Entrant]:
    """The `count` best entrants at each goal, each once, in the order of the goals."""
    losses = {entrant: loss(entrant) for entrant in entrants}
    ordered = sorted(losses, key=lambda entrant: (losses[entrant], -entrant.ratio))
    found: list[Entrant] = []
    for goal in goals:
        band = [entrant for entrant in ordered if goal <= entrant.ratio < BAND * goal]
        found += [entrant for entrant in band[:count] if entrant not in found]
    return found


@dataclass
class Results:
    """The falls of all plans on all samples that they have run on so far."""

    weights: Array
    """(samples,), how much each sample counts, above 0."""
    falls: dict[str, dict[int, float]] = field(default_factory=dict)
    """Key of an entrant -> index of a sample -> fall in the answer's log-likelihood, nats, summed over its tokens."""

    @property
    def runs(self) -> int:
        """Number of runs of a plan on a sample."""
        return sum(map(len, self.falls.values()))

    def add(self, entrants: Sequence[Entrant], samples: Sequence[int], falls: Array) -> None:
        """Add falls (entrants, samples)."""
        for entrant, row in zip(entrants, falls.tolist(), strict=True):
            self.falls.setdefault(entrant.key, {}).update(zip(samples, row, strict=True))

    def has(self, entrant: Entrant, samples: Sequence[int]) -> bool:
        """Whether the plan has run on all of the samples."""
        return set(samples) <= self.falls.get(entrant.key, {}).keys()

    def measured(self, entrant: Entrant, samples: Sequence[int]) -> float:
        """Mean loss of a plan over samples that it has run on, 0..1."""
        falls = np.array([self.falls[entrant.key][index] for index in samples])
        weights = self.weights[list(samples)]
        return float(losses_of(falls) @ weights / weights.sum())

    def loss(self, entrant: Entrant, samples: Sequence[int]) -> float:
        """Expected loss of a plan, 0..1: the measured one, drawn towards its prediction."""
        count, measured = len(samples), self.measured(entrant, samples)
        return (count * measured + PRIOR_SAMPLES * entrant.predicted) / (count + PRIOR_SAMPLES)
