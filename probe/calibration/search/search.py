"""The search for plans that lose little at every cost: predict, run on a few samples, vary the best, run on more.

Three rounds. The first runs what the parts predict to be good, the plans at the detected stages and published methods'
plans; the second adds the neighbours of the leaders, and other selectors in their places; the third adds neighbours
once more. After each, the leaders at every goal go on to more samples. Plans that save very little take no part, unless
the caller finds that no other keeps enough: then the same rounds follow at lower goals.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, zip_longest
from statistics import median

import numpy as np

from halfv_core.errors import PlanError
from halfv_core.plan import Plan
from halfv_core.selectors import SELECTORS, ThresholdSelector, make_selector
from probe.calibration.search.candidate import Array, Candidate, Form, PriceTable
from probe.calibration.search.predict import Parts, predictions
from probe.calibration.search.race import (
    BAND,
    LOW_GOALS,
    PRIOR_SAMPLES,
    Entrant,
    Expectation,
    Results,
    goals_up_to,
    leaders,
)

Measure = Callable[[str, Sequence[Plan], Sequence[int]], Array]
"""(name of the round, plans, indices of samples) -> falls (plans, samples), NaN where a plan cannot run."""

Shape = tuple[int, str | None, bool]

PER_GOAL = 4
"""Predicted candidates that are run at each goal."""
PER_SHAPE = 2
"""Of them, candidates with the same number of Keeps and the same kinds of treatment."""
GO_ON = 2
"""Candidates that go on to more samples at each goal, beside the best plan of a published method."""
FINALISTS = 2
"""Candidates that are judged at each goal in the end."""
NEIGHBOURS = 48
"""Neighbours of leaders that are run in a round."""
SELECTOR_GOALS = (2.0, 3.0)
"""Goals at whose leaders other selectors are tried."""
SHOWN_GOALS = (1.9, 2.9)
"""Goals at which published methods are judged beside the finalists. Their plans come close to 2 and 3."""


@dataclass
class Search:
    """One search, on the samples that plans are proposed on."""

    form: Form
    prices: PriceTable
    parts: Parts
    ratio_of: Callable[[Plan], float]
    """Cost without a plan, divided by that with it."""
    measure: Measure
    wanted: float | None = None
    """A cost ratio that the user wants."""
    entrants: dict[str, Entrant] = field(default_factory=dict)
    """The plans that have entered so far, by key."""

    def __post_init__(self) -> None:
        self.predicted = predictions(self.form, self.parts, self.prices)
        self._expected = {one.candidate: one.loss for one in self.predicted}
        ordered = sorted(self.predicted, key=lambda one: -one.ratio)
        self._costs = np.array([-one.ratio for one in ordered])  # ascending
        self._least = np.minimum.accumulate([one.loss for one in ordered]) if ordered else np.zeros(0)
        self.results = Results(self.parts.weights)
        highest = max((one.ratio for one in self.predicted), default=1.0)
        self.goals = goals_up_to(highest, self.wanted)

    @property
    def considered(self) -> int:
        """Number of plans that were predicted, run, or both."""
        entered = [entrant.candidate for entrant in self.entrants.values()]
        candidates = {one.candidate for one in self.predicted} | set(filter(None, entered))
        return len(candidates) + entered.count(None)

    def proposals(self, per_goal: int = PER_GOAL) -> list[Candidate]:
        """The candidates of least predicted loss at each goal, not all of one shape."""
        chosen: list[Candidate] = []
        ordered = sorted(self.predicted, key=lambda one: (one.loss, -one.ratio))
        for goal in self.goals:
            shapes: Counter[Shape] = Counter()
            for one in ordered:
                shape = _shape(one.candidate)
                if goal <= one.ratio < BAND * goal and shapes[shape] < PER_SHAPE:
                    shapes[shape] += 1
                    if one.candidate not in chosen:
                        chosen.append(one.candidate)
                if shapes.total() == per_goal:
                    break
        return chosen

    def run(self, begin: Sequence[Candidate], methods: Mapping[str, Sequence[Plan]]) -> list[Entrant]:
        """The finalists, by cost, the dearest first.

        Args:
            begin: candidates to begin with, beside those that are predicted to be good.
            methods: published method -> its plans, likewise.
        """
        self._enter_candidates([*self.proposals(), *begin])
        for name, published in methods.items():
            self._enter(self._entrant(plan, method=name) for plan in published)
        first = _chunks(len(self.parts.weights))[0]
        self._measure("1", self.entrants.values(), first)
        self._expect_of_methods(first)
        return self._rounds()

    def run_milder(self) -> list[Entrant]:
        """The finalists among plans that save less than those so far, for when none of those keeps enough."""
        if not self._turn_to_low_goals():
            return []
        self._enter_candidates(self.proposals())
        self._measure("milder 1", self.entrants.values(), _chunks(len(self.parts.weights))[0])
        return self._rounds("milder ")

    def _turn_to_low_goals(self) -> bool:
        """Compare plans at the low goals from here on; whether they were not compared there already."""
        lower, self.goals = set(LOW_GOALS) - set(self.goals), LOW_GOALS
        return bool(lower)

    def _rounds(self, prefix: str = "") -> list[Entrant]:
        """The rounds after the first, and the finalists."""
        first, second, third = _chunks(len(self.parts.weights))
        both = [*first, *second]
        self._enter_candidates(self._neighbours(self._leaders(first, 1)))
        self._enter_candidates(self._selector_variants(first))
        self._measure(f"{prefix}2", self.entrants.values(), first)
        self._measure(f"{prefix}2 on more", self._going_on(first), second)
        self._enter_candidates(self._neighbours(self._leaders(both, 1)))
        self._measure(f"{prefix}3", self.entrants.values(), first)
        self._measure(f"{prefix}3 on more", self._going_on(first), second)
        self._measure(f"{prefix}3 on all", self._going_on(both), third)
        return self._finalists([*both, *third])

    def leading_methods(self, count: int) -> list[Entrant]:
        """Of the published methods' plans, the `count` best at each of a few costs, by the samples of the first round.

        A method is named once at each cost.
        """
        first = _chunks(len(self.parts.weights))[0]
        published = [entrant for entrant in self._known(first) if entrant.method]
        shown: list[Entrant] = []
        for goal in SHOWN_GOALS:
            ranked = leaders(published, lambda entrant: self.results.loss(entrant, first), (goal,), len(published))
            best = {entrant.method: entrant for entrant in reversed(ranked)}
            shown += [entrant for entrant in ranked if best[entrant.method] is entrant][:count]
        return shown

    def expectation(self, entrant: Entrant) -> Expectation:
        """What is expected of a plan: by all samples of the search, or by its prediction if it did not run on them."""
        everything = range(len(self.parts.weights))
        if self.results.has(entrant, everything):
            return Expectation(self.results.loss(entrant, everything), len(everything))
        return Expectation(entrant.predicted, PRIOR_SAMPLES)

    def predicted_best(self, begin: Sequence[Candidate]) -> list[Entrant]:
        """The candidates to begin with and those of least predicted loss, where nothing is run before the choice."""
        self._enter_candidates([*self.proposals(per_goal=1), *begin])
        return sorted(self.entrants.values(), key=lambda entrant: entrant.ratio)

    def predicted_milder(self) -> list[Entrant]:
        """Likewise those that save less, for when none of the others keeps enough."""
        return self.predicted_best([]) if self._turn_to_low_goals() else []

    def _enter_candidates(self, candidates: Iterable[Candidate]) -> None:
        plans = ((candidate, candidate.plan(self.form)) for candidate in candidates)
        self._enter(self._entrant(plan, candidate) for candidate, plan in plans)

    def _entrant(self, plan: Plan, candidate: Candidate | None = None, method: str | None = None) -> Entrant:
        """A plan with its prediction: that of its candidate under the form's own selector, or the best at its cost."""
        ratio = self.ratio_of(plan)
        own = None if candidate is None else self._expected.get(replace(candidate, selector=None))
        if own is None:
            cheaper = int(np.searchsorted(self._costs, -ratio, side="right"))
            own = float(self._least[max(0, cheaper - 1)]) if len(self._least) else 0.0
        return Entrant(plan, ratio, candidate, own, method)

    def _expect_of_methods(self, samples: Sequence[int]) -> None:
        """Expect of published methods' plans the median of what all plans in the race lose at a similar cost.

        On few samples the best of many does well by chance, so that each is drawn towards all (an empirical prior).
        """
        known = self._known(samples)
        lost = {entrant: self.results.measured(entrant, samples) for entrant in known}
        for entrant in known:
            if entrant.method is not None:
                similar = [loss for other, loss in lost.items() if 1 / BAND < other.ratio / entrant.ratio < BAND]
                self.entrants[entrant.key] = replace(entrant, predicted=median(similar))

    def _enter(self, entrants: Iterable[Entrant]) -> None:
        for entrant in entrants:
            self.entrants.setdefault(entrant.key, entrant)

    def _measure(self, name: str, entrants: Iterable[Entrant], samples: Sequence[int]) -> None:
        missing = [entrant for entrant in entrants if not self.results.has(entrant, samples)]
        if missing and samples:
            falls = self.measure(name, [entrant.plan for entrant in missing], samples)
            able = [index for index, row in enumerate(falls) if not np.isnan(row).any()]
            self.results.add([missing[index] for index in able], samples, falls[able])
            for index in set(range(len(missing))) - set(able):
                del self.entrants[missing[index].key]

    def _leaders(self, samples: Sequence[int], count: int, *, published: bool = False) -> list[Entrant]:
        """The best candidates, or published methods' plans, at each goal, of those that have run on all samples."""
        known = [entrant for entrant in self._known(samples) if (entrant.method is not None) == published]
        return leaders(known, lambda entrant: self.results.loss(entrant, samples), self.goals, count)

    def _going_on(self, samples: Sequence[int]) -> list[Entrant]:
        """What goes on to more samples. Methods are many, so some are lucky; they leave candidates their places."""
        return [*self._leaders(samples, GO_ON), *self._leaders(samples, 1, published=True)]

    def _finalists(self, samples: Sequence[int]) -> list[Entrant]:
        """The leading candidates, and a published method's plan where nothing beats it; by cost, the dearest first."""
        known = self._known(samples)
        best = leaders(known, lambda entrant: self.results.loss(entrant, samples), self.goals, 1)
        methods = [entrant for entrant in best if entrant.method is not None]
        return sorted([*self._leaders(samples, FINALISTS), *methods], key=lambda entrant: entrant.ratio)

    def _known(self, samples: Sequence[int]) -> list[Entrant]:
        return [entrant for entrant in self.entrants.values() if self.results.has(entrant, samples)]

    def _neighbours(self, entrants: Sequence[Entrant]) -> list[Candidate]:
        """Neighbours of candidates, taken in turn."""
        found: list[Candidate] = []
        known = {entrant.candidate for entrant in self.entrants.values()}
        queues = [entrant.candidate.neighbours(self.form) for entrant in entrants if entrant.candidate]
        for candidate in filter(None, chain.from_iterable(zip_longest(*queues))):
            if candidate not in known:
                known.add(candidate)
                found.append(candidate)
        return found[:NEIGHBOURS]

    def _selector_variants(self, samples: Sequence[int]) -> Iterator[Candidate]:
        """The best candidates that prune, with every other selector in the place of the first."""
        pruning = [entrant for entrant in self._known(samples) if entrant.candidate and entrant.candidate.keeps]
        goals = [goal for goal in SELECTOR_GOALS if goal <= self.goals[-1]] if self.goals else []
        best = leaders(pruning, lambda entrant: self.results.loss(entrant, samples), goals, 1) if pruning else []
        for entrant in best:
            assert entrant.candidate is not None
            for name in other_selectors(self.form.selector):
                yield replace(entrant.candidate, selector=name)


def other_selectors(selector: str) -> list[str]:
    """The registered selectors that may stand in another's place: told how many to keep, and looking at the decoder.

    What looks at the vision tower needs the whole model to run again for each plan.
    """
    names = []
    for name in SELECTORS:
        try:
            made = make_selector(name, {})
        except PlanError:
            continue
        outside = made.reads() & {"vision", "grids", "transitions"}
        if not (isinstance(made, ThresholdSelector) or outside or name in (selector, "random", "uniform")):
            names.append(name)
    return names


def _chunks(count: int) -> tuple[list[int], list[int], list[int]]:
    """A quarter of the samples, the next quarter, and the rest."""
    quarter = max(1, count // 4)
    places = list(range(count))
    return places[:quarter], places[quarter : 2 * quarter], places[2 * quarter :]


def _shape(candidate: Candidate) -> Shape:
    return len(candidate.keeps), candidate.treatment and candidate.treatment[0], candidate.drop is not None
