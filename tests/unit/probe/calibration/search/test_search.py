"""The search in a made-up world in which every layer's need for visual tokens is known, next to trying everything."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from halfv_core.cost import tokens_by_layer
from halfv_core.plan import Keep, Plan
from halfv_core.records import Stages
from halfv_core.selectors import SELECTORS, ThresholdSelector, make_selector
from probe.analyzers.causal_curves import Array, CausalLosses, causal_plans, losses_of, tried_layers
from probe.analyzers.marginal_utility import UtilitySurface, grid_plans
from probe.calibration.search.candidate import Candidate, Form, PriceTable
from probe.calibration.search.predict import Parts
from probe.calibration.search.race import BAND, LOW_GOALS, Entrant
from probe.calibration.search.search import FINALISTS, SHOWN_GOALS, Search, other_selectors
from probe.calibration.search.stage_candidates import stage_candidates
from tests.candidates import TEXT, VISUAL, every_candidate, flops_pricing, flops_ratio

SHARES = (0.1, 0.25, 0.5)


@dataclass
class World:
    """Samples whose answers suffer where layers miss visual tokens, or see them frozen; the early layers most."""

    layers: int = 6
    samples: int = 24
    skilled: str = "attention"
    """The selector whose tokens are missed less."""
    harmless: list[Plan] = field(default_factory=list)
    """Plans that lose nothing, whatever they do."""
    measured: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How often each plan ran on each sample."""
    names: list[str] = field(default_factory=list)
    """Names of the rounds."""

    def __post_init__(self) -> None:
        generator = np.random.default_rng(self.layers)
        fading = np.exp(-np.arange(self.layers) / (self.layers / 4))
        self.missed = 0.6 * fading * generator.gamma(1.0, 1.0, (self.samples, self.layers))
        self.frozen = 0.05 * fading * generator.gamma(0.5, 1.0, (self.samples, self.layers))

    @property
    def form(self) -> Form:
        return Form(self.layers, 0.05, "uniform", {})

    def falls(self, plan: Plan) -> Array:
        """(samples,), nats: the sum over the layers of what they miss; falls of parts do not simply add up."""
        if plan in self.harmless:
            return np.zeros(self.samples)
        rows = tokens_by_layer(plan, self.layers, VISUAL, TEXT)
        missing = np.array([row.absent / VISUAL for row in rows])
        still = np.array([row.frozen / VISUAL for row in rows])
        skill = 0.5 if any(keep.selector == self.skilled for keep in plan.keeps) else 1.0
        found: Array = skill * self.missed @ missing**2 + self.frozen @ still - 0.01
        return found

    def loss(self, plan: Plan) -> float:
        """Mean over all samples."""
        return float(losses_of(self.falls(plan)).mean())

    def measure(self, name: str, plans: Sequence[Plan], samples: Sequence[int]) -> Array:
        """Run plans, and remember that they ran."""
        self.names.append(name)
        self.measured.update((plan.model_dump_json(), sample) for plan in plans for sample in samples)
        return np.array([self.falls(plan)[list(samples)] for plan in plans])

    @property
    def surface(self) -> UtilitySurface:
        layers = tuple(range(1, max(1, self.layers // 3) + 1))
        drops = np.array([self.falls(plan) for plan in grid_plans(layers, SHARES, "uniform", {})])
        drops = drops.reshape(len(layers), len(SHARES), -1)
        return UtilitySurface(layers, SHARES, np.zeros(drops.shape[:2]), drops, np.ones_like(drops))

    @property
    def causes(self) -> CausalLosses:
        starts = tried_layers(self.layers)
        falls = np.array([self.falls(plan) for plan in causal_plans(starts, self.layers, 0.05)])
        return CausalLosses.of(starts, 0.05, falls)

    def search(self, *, surface: bool = True, causes: bool = True, wanted: float | None = None) -> Search:
        """A search that knows what single interventions do."""
        known = self.surface if surface else None, self.causes if causes else None
        ones = np.ones(self.samples)
        parts = Parts.of(self.form, *known, ones, ones, range(self.samples))
        prices = PriceTable(self.form, flops_pricing(self.layers))
        return Search(self.form, prices, parts, lambda plan: flops_ratio(plan, self.layers), self.measure, wanted)

    @property
    def begin(self) -> list[Candidate]:
        stages = Stages(aggregation_start=1, saturation_start=None if self.layers < 3 else self.layers - 1, evidence={})
        return stage_candidates(stages, self.form, SHARES)


METHODS = {
    "late": [Plan((Keep(layer=2, keep_ratio=ratio, selector="attention"),)) for ratio in (0.5, 0.05)],
    "early": [Plan((Keep(layer=1, keep_ratio=0.1, selector="random"),))],
}


@pytest.fixture(scope="module")
def everything() -> dict[float, float]:
    """FLOPs ratio -> smallest loss, over all plans of one or two Keeps, a treatment and a drop."""
    world, found = World(skilled="none"), dict[float, float]()
    for candidate in every_candidate(world.form):
        plan = candidate.plan(world.form)
        ratio = flops_ratio(plan, world.layers)
        found[ratio] = min(world.loss(plan), found.get(ratio, 1.0))
    return found


def test_the_search_comes_close_to_trying_everything_at_a_fraction_of_the_cost(everything: dict[float, float]) -> None:
    world = World(skilled="none")
    search = world.search()
    finalists = search.run(world.begin, {})
    reached = 0
    for goal in search.goals:
        best = min((loss for ratio, loss in everything.items() if goal <= ratio < BAND * goal), default=None)
        if best is not None:
            assert min(world.loss(one.plan) for one in finalists if goal <= one.ratio < BAND * goal) <= best + 0.01
            reached += 1
    assert reached >= 5
    exhaustive = len(list(every_candidate(world.form))) * world.samples
    assert search.results.runs == world.measured.total() < exhaustive / 20


def test_predictions_alone_come_close_without_running_anything(everything: dict[float, float]) -> None:
    world = World(skilled="none")
    search = world.search()
    proposed = search.predicted_best(world.begin)
    assert world.measured.total() == search.results.runs == 0
    assert [one.ratio for one in proposed] == sorted(one.ratio for one in proposed)
    for goal in search.goals[:4]:
        best = min(loss for ratio, loss in everything.items() if goal <= ratio < BAND * goal)
        assert min(world.loss(one.plan) for one in proposed if goal <= one.ratio < BAND * goal) <= best + 0.05


def test_nothing_is_run_twice_and_finalists_have_run_on_every_sample() -> None:
    world = World()
    search = world.search()
    finalists = search.run(world.begin, METHODS)
    assert set(world.measured.values()) == {1}
    assert len(set(world.names)) == len(world.names)  # names of rounds tell their results apart in a journal
    assert all(world.measured[one.key, sample] for one in finalists for sample in range(world.samples))
    assert 0 < len(finalists) <= FINALISTS * len(search.goals)
    assert [one.ratio for one in finalists] == sorted(one.ratio for one in finalists)
    whole = sum(all(world.measured[key, sample] for sample in range(world.samples)) for key in search.entrants)
    assert len(finalists) <= whole < len(search.entrants) / 3  # most plans leave the race early
    for one in finalists:
        falls = search.results.falls[one.key]
        assert [falls[sample] for sample in range(world.samples)] == world.falls(one.plan).tolist()


def test_the_same_search_finds_the_same() -> None:
    worlds = World(), World()
    keys = [[one.key for one in world.search().run(world.begin, METHODS)] for world in worlds]
    assert keys[0] == keys[1]
    assert worlds[0].measured == worlds[1].measured and worlds[0].names == worlds[1].names


def test_a_better_selector_is_found() -> None:
    """Whichever it is: that is measured, not assumed."""
    for skilled in other_selectors("uniform")[:2]:
        world = World(skilled=skilled)
        finalists = world.search().run(world.begin, {})
        assert skilled in {keep.selector for one in finalists for keep in one.plan.keeps}


def test_published_plans_are_proposals_like_any_other() -> None:
    bad = Plan((Keep(layer=1, keep_ratio=0.1, selector="random"),))
    world = World(samples=60, skilled="none")
    search = world.search()
    good = Plan((Keep(layer=1, keep_ratio=0.5, selector="random"), Keep(layer=2, keep_ratio=0.1)))
    world.harmless.append(good)
    finalists = search.run(world.begin, {"good": [good], "bad": [bad]})
    assert [one.method for one in finalists if one.plan == good] == ["good"]
    assert bad not in [one.plan for one in finalists]


def test_methods_to_show_are_the_best_at_a_few_costs_and_named_once_there() -> None:
    world = World(skilled="none")
    settings = {"early": (1, (0.5, 0.45, 0.3)), "late": (2, (0.35, 0.3, 0.05)), "later": (3, (0.1,))}
    plans = {
        name: [Plan((Keep(layer=layer, keep_ratio=ratio, selector="random"),)) for ratio in ratios]
        for name, (layer, ratios) in settings.items()
    }
    search = world.search()
    search.run(world.begin, plans)
    published = [one for one in search.entrants.values() if one.method]
    first_round = range(world.samples // 4)
    ranked = sorted(published, key=lambda one: (search.results.loss(one, first_round), -one.ratio))
    for count in (1, 2, 9):
        expected: list[Entrant] = []
        for goal in SHOWN_GOALS:
            best: dict[str | None, Entrant] = {}
            for one in ranked:
                if goal <= one.ratio < BAND * goal:
                    best.setdefault(one.method, one)
            expected += list(best.values())[:count]
        assert search.leading_methods(count) == expected
    assert len(published) == 7 and 1 < len(expected) < 7


def test_a_plan_that_is_no_candidate_is_expected_to_be_as_good_as_the_best_at_its_cost() -> None:
    search = World().search()
    known = {one.candidate: one.loss for one in search.predicted}
    search.run(World().begin, METHODS)
    for one in search.entrants.values():
        at_least = [other.loss for other in search.predicted if other.ratio >= one.ratio]
        own = None if one.candidate is None else known.get(replace(one.candidate, selector=None))
        cheapest = max(search.predicted, key=lambda other: other.ratio).loss
        if one.method is None:
            assert one.predicted == pytest.approx(min(at_least, default=cheapest) if own is None else own)


def test_a_published_plan_is_expected_to_be_like_those_at_a_similar_cost_were_on_the_first_samples() -> None:
    world = World()
    search = world.search()
    search.run(world.begin, METHODS)
    first = list(range(world.samples // 4))
    began = set(search.proposals()) | set(world.begin)
    running = [one for one in search.entrants.values() if one.method or one.candidate in began]
    for one in running:
        similar = [other for other in running if one.ratio / BAND < other.ratio < one.ratio * BAND]
        if one.method is not None:
            middle = np.median([losses_of(world.falls(other.plan)[first]).mean() for other in similar])
            assert one.predicted == pytest.approx(middle) and len(similar) > 1


def test_milder_plans_follow_where_they_are_asked_for(everything: dict[float, float]) -> None:
    world = World(skilled="none")
    search = world.search()
    bolder = search.run(world.begin, METHODS)
    assert min(one.ratio for one in bolder) >= min(search.goals) > max(LOW_GOALS)
    milder = search.run_milder()
    assert set(world.measured.values()) == {1} and len(set(world.names)) == len(world.names)
    assert all(world.measured[one.key, sample] for one in milder for sample in range(world.samples))
    for goal in LOW_GOALS:
        best = min(loss for ratio, loss in everything.items() if goal <= ratio < BAND * goal)
        assert min(world.loss(one.plan) for one in milder if goal <= one.ratio < BAND * goal) <= best + 0.01
    assert search.run_milder() == []


def test_milder_plans_are_predicted_where_nothing_is_run() -> None:
    world = World(skilled="none")
    search = world.search()
    bolder = search.predicted_best([])
    milder = [one for one in search.predicted_milder() if one not in bolder]
    assert milder and max(one.ratio for one in milder) < BAND * max(LOW_GOALS)
    assert min(one.predicted for one in milder) < min(one.predicted for one in bolder)
    assert search.predicted_milder() == [] and not world.measured


def test_where_little_can_be_saved_there_is_nothing_milder() -> None:
    world = World(layers=2, skilled="none")
    search = world.search(surface=False)
    assert set(LOW_GOALS) <= set(search.goals)
    search.run(world.begin, {})
    assert search.run_milder() == []


@pytest.mark.parametrize("layers", [2, 3, 6])
@pytest.mark.parametrize("samples", [1, 2, 3, 9])
@pytest.mark.parametrize("known", ["surface", "causes", "both", "nothing"])
def test_little_is_enough(layers: int, samples: int, known: str) -> None:
    """Few layers, few samples, and nothing known beforehand."""
    world = World(layers, samples)
    search = world.search(surface=known in ("surface", "both"), causes=known in ("causes", "both"))
    finalists = search.run(world.begin, METHODS if layers == 6 else {})
    assert set(world.measured.values()) <= {1}
    assert all(one.ratio >= min(search.goals) for one in finalists)
    if layers == 6 and known != "nothing":
        assert finalists


def test_neighbours_of_neighbours_are_reached() -> None:
    """Where nothing is known and only one plan is at hand, pruning moves to where it does less harm, step by step."""
    world = World(layers=12, skilled="none")
    begin, end = Candidate(((2, 0.5),)), Candidate(((4, 0.5),))
    search = world.search(surface=False, causes=False, wanted=0.95 * flops_ratio(end.plan(world.form), 12))
    finalists = search.run([begin], {})
    assert end not in begin.neighbours(world.form)
    assert end in {one.candidate for one in search.entrants.values()}
    assert min(world.loss(one.plan) for one in finalists) <= world.loss(end.plan(world.form))


def test_a_wanted_cost_is_a_goal() -> None:
    world = World(skilled="none")
    search = world.search(wanted=2.75)
    assert 2.75 in search.goals
    assert any(2.75 <= one.ratio < 2.75 * BAND for one in search.run(world.begin, {}))
    bold = World(skilled="none").search(wanted=50.0)  # more than any plan saves
    assert max(bold.goals) == 50.0 and bold.run(world.begin, {})


def test_proposals_are_the_best_predicted_of_several_shapes() -> None:
    search = World(layers=9).search()
    proposals = search.proposals()
    expected = {one.candidate: one for one in search.predicted}
    assert len(set(proposals)) == len(proposals)
    for goal in search.goals:
        band = [one for one in search.predicted if goal <= one.ratio < BAND * goal]
        chosen = [expected[one] for one in proposals if goal <= expected[one].ratio < BAND * goal]
        assert bool(chosen) == bool(band)
        if band:
            assert min(one.loss for one in chosen) == min(one.loss for one in band)
    assert len({(len(one.keeps), one.treatment and one.treatment[0], one.drop is None) for one in proposals}) >= 5


def test_selectors_that_may_stand_in_anothers_place() -> None:
    names = other_selectors("attention")
    assert "attention" not in names and {"random", "uniform"}.isdisjoint(names) and set(names) < set(SELECTORS)
    assert "anchor_coverage" in names
    for name in names:
        made = make_selector(name, {})
        assert not isinstance(made, ThresholdSelector)
        plan = Plan((Keep(layer=1, keep_ratio=0.5, selector=name),))
        assert plan.is_known_beforehand and not plan.reads() & {"vision", "grids", "transitions"}
    assert set(other_selectors("anchor_coverage")) == {*names, "attention"} - {"anchor_coverage"}
