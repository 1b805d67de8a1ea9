"""Candidates: every valid one is a plan, its price is the plan's, and its neighbours are one change away."""

from dataclasses import replace

import pytest
from hypothesis import given

from halfv_core.cost import cost_of, tokens_by_layer
from halfv_core.errors import HalfVError
from halfv_core.latency import latency_ratio
from halfv_core.plan import Freeze, Keep, Plan
from probe.calibration.search.candidate import MAX_KEEPS, RATIOS, Candidate, Form, PriceTable, latency_pricing
from tests import latency_tables
from tests.candidates import (
    TEXT,
    VISUAL,
    every_candidate,
    flops_pricing,
    flops_ratio,
    form_of,
    kv_pricing,
    proposed,
    shape_of,
    valid,
)
from tests.latency_tables import known_table

PARTS = ("keeps", "treatment", "drop", "selector")


def test_a_candidate_is_this_plan() -> None:
    form = Form(10, 0.05, "anchor_coverage", {"anchor_share": 0.4})
    whole = Candidate(keeps=((1, 0.5), (4, 0.15)), treatment=("freeze", 5), drop=9, selector="attention")
    assert whole.plan(form) == Plan(
        (
            Keep(layer=1, keep_ratio=0.5, selector="attention"),
            Keep(layer=4, keep_ratio=0.15, selector="anchor_coverage", options={"anchor_share": 0.4}),
            Freeze(layers=range(5, 9)),
            Keep(layer=9, keep_ratio=0.0, selector="uniform"),
        )
    )
    few = Candidate(treatment=("few", 5))
    assert few.plan(form) == Plan((Keep(layer=5, keep_ratio=0.05, selector="attention"),))
    assert Candidate(treatment=("freeze", 5)).plan(form) == Plan((Freeze(layers=range(5, 10)),))
    assert Candidate().plan(form) == Plan(())


@given(valid())
def test_what_is_valid_is_a_plan_at_its_price(case: tuple[Form, Candidate]) -> None:
    form, candidate = case
    assert candidate.is_valid(form)
    plan = candidate.plan(form)
    plan.check_depth(form.layers)
    for visual in (VISUAL, 3):
        cost = cost_of(shape_of(form.layers), tokens_by_layer(plan, form.layers, visual, TEXT))
        flops, kv = (PriceTable(form, pricing(form.layers, visual)) for pricing in (flops_pricing, kv_pricing))
        assert flops.ratio(candidate) == pytest.approx(cost.flops_ratio, rel=1e-12)
        assert kv.ratio(candidate) == pytest.approx(cost.kv_ratio, rel=1e-12)


def in_effect(candidate: Candidate, form: Form) -> list[object]:
    """What the plan does to a long prompt, layer by layer."""
    plan = candidate.plan(form)
    plan.check_depth(form.layers)
    rows = tokens_by_layer(plan, form.layers, 10_000, 1)
    return [*rows, [keep.selector for keep in plan.keeps if keep.keep_ratio]]


def without_a_part(candidate: Candidate) -> list[Candidate]:
    """The candidates with one part less."""
    keeps = [candidate.keeps[:index] + candidate.keeps[index + 1 :] for index in range(len(candidate.keeps))]
    fewer = [replace(candidate, keeps=left) for left in keeps]
    fewer += [replace(candidate, treatment=None), replace(candidate, drop=None), replace(candidate, selector=None)]
    return [one for one in fewer if one != candidate]


def is_idle(candidate: Candidate, form: Form) -> bool:
    """Whether leaving out a part changes nothing."""
    rows = in_effect(candidate, form)[:-1]
    others = without_a_part(candidate)
    if candidate.keeps == () and candidate.selector is not None:
        return True
    return any(in_effect(other, form)[:-1] == rows for other in others if other.selector == candidate.selector)


@given(proposed())
def test_what_is_not_valid_is_refused_or_idle_or_in_another_order(case: tuple[Form, Candidate]) -> None:
    form, candidate = case
    try:
        effect = is_idle(candidate, form)
    except HalfVError:
        assert not candidate.is_valid(form)
        return
    if candidate.is_valid(form):
        assert not effect
        return
    last = candidate.keeps[-1][0] if candidate.keeps else 0
    early = candidate.treatment is not None and candidate.treatment[1] < last
    unsorted = list(candidate.keeps) != sorted(candidate.keeps)
    assert effect or early or unsorted or len(candidate.keeps) > MAX_KEEPS


@pytest.mark.parametrize(
    "bad",
    [
        Candidate(((0, 0.5),)),
        Candidate(((6, 0.5),)),
        Candidate(((2, 0.5), (2, 0.25))),
        Candidate(((2, 0.25), (3, 0.25))),
        Candidate(((2, 0.25), (3, 0.5))),
        Candidate(((3, 0.5), (2, 0.25))),
        Candidate(((1, 0.75), (2, 0.5), (3, 0.25), (4, 0.1))),
        Candidate(((3, 0.5),), ("freeze", 2)),
        Candidate(((3, 0.5),), ("few", 3)),
        Candidate(((3, 0.05),), ("few", 4)),
        Candidate(treatment=("freeze", 6)),
        Candidate(treatment=("freeze", 4), drop=4),
        Candidate(((3, 0.5),), drop=3),
        Candidate(drop=6),
        Candidate(drop=0),
        Candidate(drop=3, selector="attention"),
    ],
    ids=repr,
)
def test_candidates_that_are_not_valid(bad: Candidate) -> None:
    assert not bad.is_valid(form_of(6))


def changes(one: Candidate, other: Candidate) -> int:
    """In how many parts two candidates differ; a Keep more or less, or a Keep that is moved, is one."""
    count = sum(getattr(one, part) != getattr(other, part) for part in PARTS[1:])
    if one.keeps == other.keeps:
        return count
    short, long = sorted((one.keeps, other.keeps), key=len)
    if len(short) == len(long):
        pairs = [pair for pair in zip(short, long, strict=True) if pair[0] != pair[1]]
        inside = [(a[0] == b[0]) or (a[1] == b[1]) for a, b in pairs]
        return count + (1 if inside == [True] else 9)
    added = any(long[:index] + long[index + 1 :] == short for index in range(len(long)))
    return count + (1 if added else 9)


@given(valid())
def test_neighbours_are_valid_and_one_change_away(case: tuple[Form, Candidate]) -> None:
    form, candidate = case
    neighbours = list(candidate.neighbours(form))
    assert candidate not in neighbours
    assert all(neighbour.is_valid(form) for neighbour in neighbours)
    assert {changes(candidate, neighbour) for neighbour in neighbours} <= {1}


def test_neighbours_by_hand() -> None:
    found = set(Candidate(((2, 0.25),), ("freeze", 4)).neighbours(form_of(6)))
    keeps = [((1, 0.25),), ((3, 0.25),), ((2, 0.2),), ((2, 0.35),), ()]
    moved = {Candidate(keep, ("freeze", 4)) for keep in keeps}
    treated = {Candidate(((2, 0.25),), treatment) for treatment in (("freeze", 3), ("freeze", 5), None)}
    treated |= {Candidate(((2, 0.25),), ("few", start)) for start in (3, 4, 5)}
    dropped = {Candidate(((2, 0.25),), ("freeze", 4), 5)}
    inserted = {one for one in found if len(one.keeps) == 2}
    assert found - inserted == moved | treated | dropped
    assert {one.keeps[0][0] for one in inserted} == {1, 2}  # before, and halfway from there to the treatment
    assert all(ratio in RATIOS for one in inserted for _, ratio in one.keeps)


def test_every_candidate_of_a_small_form_can_be_reached() -> None:
    """By neighbours of neighbours, from doing nothing: no part of the space is cut off."""
    form = form_of(4, few=0.1)
    reached, waiting = {Candidate()}, [Candidate()]
    while waiting:
        for neighbour in waiting.pop().neighbours(form):
            if neighbour not in reached:
                reached.add(neighbour)
                waiting.append(neighbour)
    assert set(every_candidate(form)) <= reached


@given(valid())
def test_a_bolder_part_never_costs_more(case: tuple[Form, Candidate]) -> None:
    form, candidate = case
    prices = PriceTable(form, flops_pricing(form.layers))
    for fewer in without_a_part(candidate):
        if fewer.is_valid(form):
            assert prices.ratio(fewer) <= prices.ratio(candidate) + 1e-12
    assert 1.0 <= prices.ratio(candidate) == pytest.approx(flops_ratio(candidate.plan(form), form.layers))


@pytest.mark.parametrize(
    "candidate",
    [Candidate(), Candidate(((2, 0.25),)), Candidate(((1, 0.5),), ("freeze", 2)), Candidate(((1, 0.1),), drop=3)],
)
def test_latency_is_that_of_the_table(candidate: Candidate) -> None:
    """But for what a prompt takes whatever the plan, which is left out of the price."""
    once = dict.fromkeys(("prompt", "prompt tokens", "under a plan"), 0.0)
    table = known_table(coefficients=latency_tables.COEFFICIENTS | once)
    form = form_of(latency_tables.LAYERS, selector="anchor_coverage")
    prices = PriceTable(form, latency_pricing(table, form.selector, VISUAL, TEXT))
    expected = latency_ratio(table, candidate.plan(form), VISUAL, TEXT)
    assert prices.ratio(candidate) == pytest.approx(expected)
