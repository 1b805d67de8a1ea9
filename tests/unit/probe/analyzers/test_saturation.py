"""The causal tests of Stage III: the decision, and that models built to be one type or the other are told apart."""

import pytest
import torch
from scipy.stats import binom
from transformers import PreTrainedModel

from halfv_core import Freeze, Keep, Plan
from halfv_core.families import parts_of
from halfv_core.profile import CausalTest
from probe.analyzers.saturation import (
    classify_saturation,
    confidence,
    decide,
    treatment_grid,
    treatments,
)
from probe.trials.answers import greedy_answer, read_answer
from probe.trials.readings import Quality, Readings, Thresholds
from probe.trials.try_plans import Case, try_plans
from tests.tiny import LAYERS, tiny_model, tiny_prompt


def cases_of(model: PreTrainedModel, family: str, count: int = 4) -> list[Case]:
    found = []
    for seed in range(count):
        inputs = tiny_prompt(family, seed=seed)
        answer = greedy_answer(model, inputs, 3)
        found.append(Case(lambda inputs=inputs: inputs, answer, read_answer(model, inputs, answer).log_likelihood))
    return found


def test_treatments_are_the_two_plans_of_the_paper() -> None:
    assert treatments(3, 5, 0.05) == {
        "layer_inactivity": Plan((Freeze(layers=[3, 4]),)),
        "token_sparsity": Plan((Keep(layer=3, keep_ratio=0.05, selector="attention"),)),
    }


def quality(model: PreTrainedModel, plan: Plan, cases: list[Case]) -> Quality:
    return try_plans(model, cases, [plan])[0].quality()


@torch.no_grad()
def idle_layers(model: PreTrainedModel, start: int) -> None:
    """Silence the layers from `start` on, so that they pass every hidden state through."""
    for layer in parts_of(model).layers[start:]:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_idle_layers_are_layer_inactivity(family: str) -> None:
    model = tiny_model(family)
    idle_layers(model, 2)
    found = classify_saturation(model, cases_of(model, family), 2)
    assert found.type == "layer_inactivity"
    assert [test.agreement for test in found.tests] == [1.0, 1.0]
    assert found.confidence == 1.0


def test_when_attention_brings_nothing_any_few_tokens_will_do() -> None:
    model = tiny_model("qwen2_5_vl")
    for layer in parts_of(model).layers[2:]:
        torch.nn.init.zeros_(layer.self_attn.o_proj.weight)
    found = classify_saturation(model, cases_of(model, "qwen2_5_vl"), 2)
    assert found.tests[1].agreement == 1.0
    assert found.tests[1].log_likelihood_drop == pytest.approx(0.0, abs=1e-6)


def test_thresholds_that_nothing_meets_give_none() -> None:
    model = tiny_model("qwen2_5_vl")
    found = classify_saturation(model, cases_of(model, "qwen2_5_vl"), 1, thresholds=Thresholds(1.0, -1e9))
    assert found.type == "none"
    assert found.reason.startswith("Neither treatment of Stage III is safe")


def test_other_starts_and_shares_are_for_the_record() -> None:
    """The type is decided at the start that was found; from the last layer on, everything is nearly safe."""
    model = tiny_model("qwen2_5_vl")
    cases, last = cases_of(model, "qwen2_5_vl"), LAYERS - 1
    alone = classify_saturation(model, cases, 1)
    found = classify_saturation(model, cases, 1, starts=[1, last], shares=[0.05, 0.9])
    assert found.model_copy(update={"grid": alone.grid}) == alone
    assert found.grid[:2] == alone.grid == alone.tests
    tried = [(test.treatment, test.plan) for test in found.grid]
    assert len(tried) == 6
    assert sorted(map(str, tried)) == sorted(map(str, treatment_grid([1, last], LAYERS, [0.05, 0.9])))
    drops = {test.plan.first_layer: abs(test.log_likelihood_drop) for test in found.grid if not test.plan.keeps}
    assert drops[last] < drops[1]
    unknown = classify_saturation(model, cases, None, starts=[last])
    assert (unknown.type, unknown.tests, len(unknown.grid)) == ("none", (), 1)


def test_without_a_stage_nothing_is_tried() -> None:
    found = classify_saturation(tiny_model("llava"), [], None)
    assert (found.type, found.tests, found.confidence) == ("none", (), None)
    assert "no Stage III" in found.reason


def test_a_plan_that_does_nothing_loses_nothing() -> None:
    model = tiny_model("llava")
    assert quality(model, Plan(()), cases_of(model, "llava")) == (1.0, 0.0)


def test_quality_tells_a_harmful_plan() -> None:
    model = tiny_model("qwen2_5_vl")
    found = quality(model, Plan((Keep(layer=1, keep_ratio=0.0),)), cases_of(model, "qwen2_5_vl"))
    assert found.agreement < 1.0
    assert found.log_likelihood_drop > 0.0


@pytest.mark.parametrize(
    ("frozen_safe", "few_safe", "saturation_type", "summary"),
    [
        (True, True, "layer_inactivity", "Both treatments"),
        (
            True,
            False,
            "layer_inactivity",
            "Only one treatment of Stage III is safe: freezing the visual tokens is safe",
        ),
        (False, True, "token_sparsity", "keeping only the most attended is safe"),
        (False, False, "none", "Neither treatment"),
    ],
)
def test_decision(frozen_safe: bool, few_safe: bool, saturation_type: str, summary: str) -> None:
    tests = [
        CausalTest(treatment=name, plan=plan, agreement=0.9, log_likelihood_drop=0.1, safe=safe)  # type: ignore[arg-type]
        for (name, plan), safe in zip(treatments(3, LAYERS, 0.1).items(), (frozen_safe, few_safe), strict=True)
    ]
    found, reason = decide(tests)
    assert found == saturation_type
    assert summary in reason
    assert "agreement 90.0%" in reason


def test_quality_is_the_mean_of_the_readings() -> None:
    model, family = tiny_model("qwen2_5_vl"), "qwen2_5_vl"
    cases, plan = cases_of(model, family), Plan((Keep(layer=1, keep_ratio=0.0),))
    (readings,) = try_plans(model, cases, [plan])
    assert len(readings.agrees) == len(readings.drops) == len(cases)
    for index, case in enumerate(cases):
        alone = quality(model, plan, [case])
        assert alone == (float(readings.agrees[index]), readings.drops[index])
        assert readings.quality([index, index]) == alone
    assert readings.quality() == quality(model, plan, cases)


def readings_of(wrong: int, drop: float = 0.0, cases: int = 40) -> Readings:
    return Readings((False,) * wrong + (True,) * (cases - wrong), (drop,) * cases)


@pytest.mark.parametrize("wrong", [0, 1, 2, 3, 20])
def test_confidence_is_the_binomial_chance_of_the_same_verdict(wrong: int) -> None:
    """Of 40 cases 2 may be wrong; a resample has Binomial(40, wrong / 40) wrong ones. Keeping few is never safe."""
    safe = float(binom.cdf(2, 40, wrong / 40))
    share = safe if wrong <= 2 else 1 - safe
    tests = {"layer_inactivity": readings_of(wrong), "token_sparsity": readings_of(40)}
    error = 3 * (share * (1 - share) / 200) ** 0.5 + 1e-4
    assert confidence(tests, Thresholds()) == pytest.approx(share, abs=error)
    assert tests["layer_inactivity"].safe_share(Thresholds()) == pytest.approx(safe, abs=error)


def test_both_treatments_are_judged_on_the_same_resample() -> None:
    """Freezing fails in resamples with the first case, few tokens in those without it: the type is never `none`."""
    cases = 30
    first = (False,) + (True,) * (cases - 1)
    freezing, few = Readings(first, (0.0,) * cases), Readings((True,) * cases, (-30.0,) + (0.01,) * (cases - 1))
    strict = Thresholds(min_agreement=1.0, max_log_likelihood_drop=0.0)
    without_first = (1 - 1 / cases) ** cases
    found = confidence({"layer_inactivity": freezing, "token_sparsity": few}, strict)
    assert found == pytest.approx(1 - without_first, abs=0.1)
    assert confidence({"layer_inactivity": freezing}, strict) == pytest.approx(found)


def test_confidence_depends_on_the_seed_alone() -> None:
    tests = {"layer_inactivity": readings_of(2)}
    one, same, other = (confidence(tests, Thresholds(), seed) for seed in (0, 0, 1))
    assert one == same != other
