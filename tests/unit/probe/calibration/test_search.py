"""Which plans are tried and which are eligible, compared with lists written by hand; no model."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfv_core.cost import DecoderShape, cost_of, tokens_by_layer
from halfv_core.plan import Freeze, Keep, Plan
from halfv_core.records import PruningTest, Saturation, SaturationType, Stages
from probe.calibration.search import candidate_plans, eligible_tests, pruning_tests_of
from probe.calibration.settings import Settings
from probe.trials.readings import Readings

SHAPE = DecoderShape(layers=10, hidden=8, query_width=8, kv_width=4, mlp=16, value_bytes=2)
RATIOS = (0.5, 0.1, 1.0)
DEFAULT = Settings(keep_ratios=RATIOS, selector="uniform", top_share=0.2)
WIDE = {"retention": Settings.model_validate(DEFAULT.model_dump() | {"target_retention": 0.9})}
WIDE["flops"] = Settings.model_validate(DEFAULT.model_dump() | {"target_flops": 2.0})


def stages(aggregation: int, saturation: int | None) -> Stages:
    return Stages(aggregation_start=aggregation, saturation_start=saturation, evidence={})


def saturation_of_type(kind: SaturationType) -> Saturation:
    return Saturation(type=kind, reason="", tests=(), min_agreement=0.95, max_log_likelihood_drop=0.05)


def keep(layer: int, ratio: float) -> Keep:
    return Keep(layer=layer, keep_ratio=ratio, selector="uniform")


def freeze(start: int) -> Freeze:
    return Freeze(layers=range(start, 10))


def keep_few(start: int) -> Keep:
    return Keep(layer=start, keep_ratio=0.2, selector="attention")


@pytest.mark.parametrize(
    ("kind", "start", "plans"),
    [
        ("none", None, [[keep(2, 0.1)], [keep(2, 0.5)], []]),
        ("none", 6, [[keep(2, 0.1)], [keep(2, 0.5)], []]),
        ("layer_inactivity", 6, [[keep(2, 0.1), freeze(6)], [keep(2, 0.5), freeze(6)], [freeze(6)]]),
        # 0.1 is less than the treatment would keep, so there is no plan with both.
        ("token_sparsity", 6, [[keep(2, 0.1)], [keep(2, 0.5), keep_few(6)], [keep_few(6)]]),
    ],
)
def test_without_a_target_plans_intervene_at_the_stages(
    kind: SaturationType, start: int | None, plans: list[list[Keep | Freeze]]
) -> None:
    assert candidate_plans(stages(2, start), saturation_of_type(kind), 10, DEFAULT) == list(map(Plan, plans))


@pytest.mark.parametrize("settings", WIDE.values(), ids=WIDE)
@pytest.mark.parametrize("kind", ["none", "layer_inactivity", "token_sparsity"])
def test_with_a_target_the_search_is_wider(settings: Settings, kind: SaturationType) -> None:
    """Stage II at two more layers, and both treatments from two layers on, whatever the saturation type."""
    found = candidate_plans(stages(2, 6), saturation_of_type(kind), 10, settings)
    prunings = [keep(layer, ratio) for layer in (2, 3, 4) for ratio in (0.1, 0.5)]
    treatments = [one for start in (6, 8) for one in (freeze(start), keep_few(start))]
    together = [
        [pruning, one]
        for pruning in prunings
        for one in treatments
        if isinstance(one, Freeze) or pruning.keep_ratio >= one.keep_ratio
    ]
    expected = [[], *([one] for one in (*prunings, *treatments)), *together]
    assert len(found) == 1 + 6 + 4 + 12 + 6
    assert sorted(map(repr, found)) == sorted(repr(Plan(plan)) for plan in expected)


@pytest.mark.parametrize("settings", WIDE.values(), ids=WIDE)
def test_without_stage_three_the_wide_search_prunes_only(settings: Settings) -> None:
    expected = [[keep(layer, ratio)] for layer in (2, 3, 4) for ratio in (0.1, 0.5)]
    assert candidate_plans(stages(2, None), saturation_of_type("none"), 10, settings) == [
        *map(Plan, expected),
        Plan(()),
    ]


def test_pruning_is_tried_before_stage_three_and_within_the_depth() -> None:
    close = candidate_plans(stages(2, 4), saturation_of_type("none"), 10, WIDE["flops"])
    assert {plan.first_layer for plan in close} == {0, 2, 3, 4, 7}
    assert max(keep.layer for plan in close for keep in plan.keeps if keep.selector == "uniform") == 3
    shallow = candidate_plans(stages(1, None), saturation_of_type("none"), 2, WIDE["flops"])
    assert shallow == [Plan((keep(1, 0.1),)), Plan((keep(1, 0.5),)), Plan(())]


def test_keep_ratio_1_is_no_pruning() -> None:
    settings = Settings(keep_ratios=(1.0,))
    assert candidate_plans(stages(2, None), saturation_of_type("none"), 10, settings) == [Plan(())]
    assert candidate_plans(stages(2, 6), saturation_of_type("layer_inactivity"), 10, settings) == [Plan((freeze(6),))]


@st.composite
def searches(draw: st.DrawFn) -> tuple[Stages, Saturation, int, dict[str, Any]]:
    layers = draw(st.integers(2, 40))
    first = draw(st.integers(1, layers - 1))
    starts = st.none() if first == layers - 1 else st.none() | st.integers(first + 1, layers - 1)
    start = draw(starts)
    kind = draw(st.sampled_from(["none", *(["layer_inactivity", "token_sparsity"] if start else [])]))
    shares = st.floats(0.01, 1.0)
    options = {"keep_ratios": tuple(draw(st.lists(shares, min_size=1, max_size=4))), "top_share": draw(shares)}
    return stages(first, start), saturation_of_type(kind), layers, options


@given(searches())
def test_every_plan_is_valid_and_tried_once(search: tuple[Stages, Saturation, int, dict[str, Any]]) -> None:
    boundaries, kind, layers, options = search
    narrow = candidate_plans(boundaries, kind, layers, Settings(**options))
    for target in ({"target_retention": 0.9}, {"target_flops": 2.0}):
        wide = candidate_plans(boundaries, kind, layers, Settings(**options, **target))
        assert [plan for plan in narrow if plan not in wide] == []
        assert Plan(()) in wide
        for plan in wide:
            plan.check_depth(layers)
            assert all(later.keep_ratio <= earlier.keep_ratio for earlier, later in pairwise(plan.keeps))
            assert not plan.interventions or plan.first_layer >= boundaries.aggregation_start
        assert len(set(map(repr, wide))) == len(wide)
    assert len(set(map(repr, narrow))) == len(narrow) > 0


def test_tests_are_sorted_cheapest_first() -> None:
    plans = [Plan(()), Plan((keep(2, 0.5),)), Plan((keep(2, 0.1),)), Plan((keep(2, 0.1), freeze(6)))]
    readings = [
        Readings((True, True), (0.0, 0.0)),
        Readings((True, True), (0.01, 0.03)),
        Readings((True, False), (0.2, 0.4)),
        Readings((False, False), (0.1, 0.7)),
    ]
    tests = pruning_tests_of(plans, readings, SHAPE, (40, 10), DEFAULT)
    assert [test.plan for test in tests] == plans[::-1]
    assert [test.agreement for test in tests] == [0.0, 0.5, 1.0, 1.0]
    assert [test.log_likelihood_drop for test in tests] == pytest.approx([0.4, 0.3, 0.02, 0.0])
    assert [test.safe for test in tests] == [False, False, True, True]
    assert [test.safe_share for test in tests] == [0.0, 0.0, 1.0, 1.0]
    for test in tests:
        cost = cost_of(SHAPE, tokens_by_layer(test.plan, 10, 40, 10))
        assert (test.flops_ratio, test.kv_ratio) == (cost.flops_ratio, cost.kv_ratio)
    assert tests[-1].flops_ratio == 1.0
    assert tests[0].flops_ratio > tests[1].flops_ratio > tests[2].flops_ratio > 1.0


def test_plans_of_equal_cost_are_sorted_by_quality() -> None:
    plans = [Plan((keep(2, 0.5),)), Plan((keep_few(2).model_copy(update={"keep_ratio": 0.5}),))]
    readings = [Readings((True,), (0.3,)), Readings((True,), (0.1,))]
    assert [test.plan for test in pruning_tests_of(plans, readings, SHAPE, (40, 10), DEFAULT)] == plans[::-1]


def pruning_test(ratio: float, agreement: float, drop: float = 0.0, safe: bool = False) -> PruningTest:
    plan = Plan((keep(2, 1 / ratio),)) if ratio > 1 else Plan(())
    return PruningTest(plan=plan, flops_ratio=ratio, agreement=agreement, log_likelihood_drop=drop, safe=safe)


TESTS = (
    pruning_test(4.0, 0.5, 0.4),
    pruning_test(3.0, 0.9, 0.1, safe=True),
    pruning_test(2.0, 0.9, 0.03, safe=True),
    pruning_test(1.5, 0.95, 0.02),
    pruning_test(1.0, 1.0, 0.0, safe=True),
)


@pytest.mark.parametrize(
    ("target", "ratios"),
    [
        ({}, [3.0, 2.0, 1.0]),
        ({"target_retention": 0.9}, [3.0, 2.0, 1.5, 1.0]),
        ({"target_retention": 0.5}, [4.0, 3.0, 2.0, 1.5, 1.0]),
        ({"target_retention": 0.96}, [1.0]),
        ({"target_flops": 1.5}, [1.5, 2.0, 3.0, 4.0]),
        ({"target_flops": 2.0}, [2.0, 3.0, 4.0]),
        ({"target_flops": 3.5}, [4.0]),
        ({"target_flops": 9.0}, [4.0]),  # unreachable: the closest plan
    ],
)
def test_eligible_plans(target: dict[str, float], ratios: list[float]) -> None:
    assert [test.flops_ratio for test in eligible_tests(TESTS, Settings(**target))] == ratios


@pytest.mark.parametrize("target", [{}, {"target_retention": 1.0}])
def test_without_a_good_plan_the_fallback_saves_least(target: dict[str, float]) -> None:
    bad = [pruning_test(3.0, 0.2), pruning_test(2.0, 0.1)]
    assert eligible_tests(bad, Settings(**target)) == [bad[1]]
