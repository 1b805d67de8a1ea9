"""Every registered method says what it is, gives valid plans, fits a budget, and runs."""

import re
from functools import cache
from itertools import pairwise

import pytest
import torch

from halfv_core import Plan, apply
from halfv_core.cost import DecoderShape
from halfv_core.errors import PlanError
from halfv_core.families import FAMILIES
from halfv_core.methods import METHODS, Measured, Target, plan_at
from halfv_core.methods.base import TOLERANCE
from tests.tiny import tiny_model, tiny_prompt

METHOD = pytest.mark.parametrize("name", sorted(METHODS))


def measured(layers: int) -> Measured:
    """What might be measured on a decoder of so many layers."""
    falling = tuple(1.0 / (layer + 1) for layer in range(layers))
    removed = tuple(tuple(min(1.0, alpha / 10 * (layer + 1)) for layer in range(layers)) for alpha in range(0, 11))
    return Measured(layer_redundancy=falling, withdrawal=tuple(value / 200 for value in falling), removed=removed)


TARGETS = {
    "llava-1.5-7b": Target("llava", DecoderShape(32, 4096, 4096, 4096, 11008, 2), 576, 64, measured(32), 24),
    "qwen2.5-vl-7b": Target("qwen2_5_vl", DecoderShape(28, 3584, 3584, 512, 18944, 2), 1200, 64, measured(28), 32),
    "4 layers": Target("llava", DecoderShape(4, 32, 32, 32, 48, 4), 16, 10, measured(4), 2),
}
TARGET = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)

TUNABLE = {
    *("aim", "apet", "dart", "divprune", "fastv", "halfv", "hiprune", "holov", "ivcprune", "priortr", "pyramiddrop"),
    *("random", "sparsevlm", "sparsevlm+", "transprune", "uniform", "v2drop", "visiondrop", "visionzip", "vispruner"),
}
"""Methods that publish more settings than their knob."""


tiny = cache(tiny_model)


@METHOD
def test_a_method_says_what_it_is(name: str) -> None:
    method = METHODS[name]
    for text in (method.title, method.source, method.looks_at, method.where):
        assert text and text == text.strip() and not text.endswith(".")
    assert isinstance(method.question_aware, bool)
    assert not method.needs.endswith(".") and not method.note.endswith(".")


@METHOD
@TARGET
def test_the_default_is_a_plan_for_the_model(name: str, target: Target) -> None:
    plan = METHODS[name]().default(target)
    plan.check_depth(target.shape.layers)
    assert Plan.model_validate_json(plan.model_dump_json()) == plan
    assert len(plan.describe()) == len(plan.interventions) > 0
    assert target.flops_ratio(plan) > 1 or not plan.is_known_beforehand


@METHOD
@TARGET
def test_the_dearer_the_knob_the_more_flops(name: str, target: Target) -> None:
    method = METHODS[name]()
    if name == "visipruner":
        with pytest.raises(PlanError, match="has no budget"):
            method.scaled(target, 0.5)
        return
    plans = [method.scaled(target, step / 16) for step in range(17)]
    assert all(plan.is_known_beforehand for plan in plans)
    costs = [target.cost(plan).prefill_flops for plan in plans]
    assert all(cheaper <= dearer for cheaper, dearer in pairwise(costs))
    assert costs[0] < costs[-1]
    for plan in plans:
        plan.check_depth(target.shape.layers)


@METHOD
@TARGET
def test_a_budget_is_met_or_the_range_is_named(name: str, target: Target) -> None:
    method = METHODS[name]()
    for ratio in (1.5, 2.0, 3.0, 4.0):
        try:
            plan = plan_at(method, target, ratio)
        except PlanError as error:
            assert re.search(r"cannot be set to this budget.*expected \d+\.\d\d to \d+\.\d\d|has no budget", str(error))
        else:
            assert abs(target.flops_ratio(plan) / ratio - 1) <= TOLERANCE


@METHOD
@TARGET
def test_variants_differ_and_the_method_itself_comes_first(name: str, target: Target) -> None:
    method = METHODS[name]()
    variants = method.variants(target)
    assert variants[0] is method and method.setting == ""
    assert 1 <= len(variants) <= 9
    assert {type(variant) for variant in variants} == {type(method)}
    plans = [variant.default(target) for variant in variants]
    assert all(plan not in plans[:index] for index, plan in enumerate(plans))
    settings = [variant.setting for variant in variants]
    assert len(set(settings)) == len(settings) and all(settings[1:])


@METHOD
@TARGET
def test_every_variant_meets_a_budget_or_names_its_range(name: str, target: Target) -> None:
    """Where more than the knob is published, several settings are within reach, so that there is something to tune."""
    ratio = 2.0 if target.shape.layers < 28 else 3.0
    variants, met = METHODS[name]().variants(target), 0
    for variant in variants:
        try:
            plan = plan_at(variant, target, ratio)
        except PlanError as error:
            assert re.search(r"cannot be set to this budget.*expected \d+\.\d\d to|has no budget", str(error))
            continue
        plan.check_depth(target.shape.layers)
        assert abs(target.flops_ratio(plan) / ratio - 1) <= TOLERANCE
        assert Plan.model_validate_json(plan.model_dump_json()) == plan
        met += 1
    assert (len(variants) > 1) == (name in TUNABLE)
    if name in TUNABLE:
        assert met >= (1 if target.shape.layers < 28 else 3)


@METHOD
@pytest.mark.parametrize("model_type", ["llava", "qwen2_5_vl"])
def test_every_variant_runs(name: str, model_type: str) -> None:
    model, inputs = tiny(model_type), tiny_prompt(model_type)
    target = Target.of(model.config, 16, 10, measured(5))
    for variant in METHODS[name]().variants(target)[1:]:
        with torch.no_grad(), apply(model, variant.default(target)) as run:
            logits = model(**inputs, logits_to_keep=1).logits
        assert bool(logits.isfinite().all()) and run.cost.flops_ratio > 1


@METHOD
@pytest.mark.parametrize("model_type", ["llava", "qwen2_5_vl"])
def test_the_default_runs(name: str, model_type: str) -> None:
    run_default(name, model_type)


@pytest.mark.slow
@METHOD
@pytest.mark.parametrize("model_type", sorted(set(FAMILIES) - {"llava", "qwen2_5_vl"}))
def test_the_default_runs_or_is_refused_in_every_family(name: str, model_type: str) -> None:
    run_default(name, model_type)


def run_default(name: str, model_type: str) -> None:
    model, inputs, method = tiny(model_type), tiny_prompt(model_type), METHODS[name]()
    target = Target.of(model.config, 16, 10, measured(5))
    if method.refusal(target) is not None:
        assert FAMILIES[model_type].tower is None
        return
    plan = method.default(target)
    with torch.no_grad(), apply(model, plan) as run:
        out = model.generate(**inputs, max_new_tokens=2)
    assert out.shape[1] == inputs["input_ids"].shape[1] + 2
    if plan.is_known_beforehand:
        assert run.cost.flops_ratio > 1
