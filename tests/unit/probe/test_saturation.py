"""The causal tests of Stage III: the decision, and that models built to be one type or the other are told apart."""

import pytest
import torch
from transformers import PreTrainedModel

from halfv_core import Freeze, Keep, Plan
from halfv_core.families import parts_of
from halfv_core.profile import CausalTest
from probe.analyzers.saturation import Case, Thresholds, classify_saturation, decide, quality, treatments
from probe.answers import greedy_answer, read_answer
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


@torch.no_grad()
def idle_layers(model: PreTrainedModel, start: int) -> None:
    """Silence the layers from `start` on: they hand every state through."""
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


def test_without_a_stage_nothing_is_tried() -> None:
    found = classify_saturation(tiny_model("llava"), [], None)
    assert (found.type, found.tests) == ("none", ())
    assert "no Stage III" in found.reason


def test_a_plan_that_does_nothing_loses_nothing() -> None:
    model = tiny_model("llava")
    counted: list[int] = []
    found = quality(model, Plan(()), cases_of(model, "llava"), on_case=lambda: counted.append(1))
    assert found == (1.0, 0.0)
    assert len(counted) == 4


def test_quality_tells_a_harmful_plan() -> None:
    model = tiny_model("qwen2_5_vl")
    found = quality(model, Plan((Keep(layer=1, keep_ratio=0.0),)), cases_of(model, "qwen2_5_vl"))
    assert found.agreement < 1.0
    assert found.log_likelihood_drop > 0.0


@pytest.mark.parametrize(
    ("frozen_safe", "few_safe", "kind", "said"),
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
def test_decision(frozen_safe: bool, few_safe: bool, kind: str, said: str) -> None:
    tests = [
        CausalTest(treatment=name, plan=plan, agreement=0.9, log_likelihood_drop=0.1, safe=safe)  # type: ignore[arg-type]
        for (name, plan), safe in zip(treatments(3, LAYERS, 0.1).items(), (frozen_safe, few_safe), strict=True)
    ]
    found, reason = decide(tests)
    assert found == kind
    assert said in reason
    assert "agreement 90.0%" in reason
