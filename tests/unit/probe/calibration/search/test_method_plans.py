"""Published methods' plans, with which a search begins."""

import pytest

from halfv_core.methods import METHODS, Measured, Target
from halfv_core.methods.base import TOLERANCE
from probe.calibration.search.method_plans import RATIOS, method_plans
from tests.tiny import LAYERS, tiny_model

VISUAL, TEXT = 300, 12
REDUNDANCY = (0.5, 0.1, 0.2, 0.05, 0.3)


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_plans_are_at_the_wanted_costs_and_look_at_the_decoder_alone(family: str) -> None:
    config = tiny_model(family).config
    target = Target.of(config, VISUAL, TEXT)
    found = method_plans(config, VISUAL, TEXT, REDUNDANCY)
    assert {"fastv", "shortv"} <= set(found) < set(METHODS)
    assert {"random", "random_input", "uniform"}.isdisjoint(found)
    for plans in found.values():
        assert 1 <= len(plans) <= len(RATIOS)
        for plan in plans:
            plan.check_depth(LAYERS)
            assert plan.is_known_beforehand and not plan.reads() & {"vision", "grids", "transitions"}
            assert min(abs(target.flops_ratio(plan) / ratio - 1) for ratio in RATIOS) <= TOLERANCE


def test_a_further_cost_adds_plans_and_takes_none_away() -> None:
    config = tiny_model("llava").config
    plain, wanted = (method_plans(config, VISUAL, TEXT, REDUNDANCY, ratio) for ratio in (None, 2.5))
    assert all(plan in wanted[name] for name, plans in plain.items() for plan in plans)
    ratio = Target.of(config, VISUAL, TEXT).flops_ratio
    assert any(ratio(plan) == pytest.approx(2.5, rel=0.01) for plan in wanted["fastv"])
    assert method_plans(config, VISUAL, TEXT, REDUNDANCY, RATIOS[0]) == plain
    assert all(len(plans) <= len(RATIOS) for plans in method_plans(config, VISUAL, TEXT, REDUNDANCY, 1e6).values())


def test_methods_that_lack_a_measurement_are_left_out() -> None:
    config = tiny_model("llava").config
    refused = {name for name in METHODS if METHODS[name]().refusal(Target.of(config, VISUAL, TEXT, Measured()))}
    assert "shortv" in refused and "shortv" not in method_plans(config, VISUAL, TEXT, ())


def test_the_layers_of_shortv_are_those_of_the_curve() -> None:
    plans = method_plans(tiny_model("llava").config, VISUAL, TEXT, REDUNDANCY)["shortv"]
    assert all(3 in plan.frozen_layers and 0 not in plan.frozen_layers for plan in plans)
