"""The self-checks pass on every family, and each fails if what it checks is broken."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from halfv_core import Keep, Plan, apply
from halfv_core.errors import HalfVError
from halfv_core.families import parts_of
from halfv_core.runtime import choosing
from probe.calibration.steps import self_checks as module
from probe.calibration.steps.self_checks import self_checks
from probe.capture.in_float32 import can_be_widened
from probe.capture.replay import Replay
from tests.tiny import TINY, tiny_model, tiny_prompt

ENTROPY, LOGITS, TWICE, KL, IDLE, MIDDLE = (
    "entropy of a known matrix",
    "captured states give the model's logits",
    "the same prompt twice",
    "KL at the last layer is 0",
    "a plan that does nothing",
    "a run from the middle",
)
FLOAT32 = "kept tokens agree with float32"


def failed(model: PreTrainedModel, family: str, entropy_k: int = 5) -> set[str]:
    """Names of the checks that fail."""
    return {check.name for check in self_checks(model, tiny_prompt(family), entropy_k) if not check.passed}


@pytest.mark.parametrize("family", sorted(TINY))
def test_all_pass_on_every_family(family: str) -> None:
    checks = self_checks(tiny_model(family), tiny_prompt(family), 5)
    assert [check.name for check in checks] == [ENTROPY, LOGITS, TWICE, KL, IDLE, MIDDLE]
    assert [check for check in checks if not check.passed] == []
    assert all(check.found for check in checks)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3"])
def test_all_pass_in_half_precision(family: str, dtype: torch.dtype) -> None:
    model, inputs = tiny_model(family).to(dtype), tiny_prompt(family)
    inputs["pixel_values"] = inputs["pixel_values"].to(dtype)
    checks = self_checks(model, inputs, 5)
    assert [check for check in checks if not check.passed] == []
    assert [check.name for check in checks] == [ENTROPY, LOGITS, TWICE, KL, IDLE, MIDDLE, FLOAT32]
    found = checks[-1].found
    assert re.fullmatch(r"[234] of 4 by anchor_coverage at layer 1, [34] of 4 by attention at layer 3", found)


def test_a_choice_that_is_not_that_of_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores that overflow or are rounded off before they are compared."""
    model, inputs = tiny_model("llava").bfloat16(), tiny_prompt("llava")
    inputs["pixel_values"] = inputs["pixel_values"].bfloat16()
    exact = choosing.attention_scores
    monkeypatch.setattr(
        choosing,
        "attention_scores",
        lambda parts, layer, given, *rest: (
            exact(parts, layer, given, *rest) * (1.0 if given.hidden.dtype == torch.float32 else -1.0)
        ),
    )
    failed = [check for check in self_checks(model, inputs, 5) if not check.passed]
    assert [check.name for check in failed] == [FLOAT32]
    assert failed[0].found == "4 of 4 by anchor_coverage at layer 1, 0 of 4 by attention at layer 3"


def test_weights_that_cannot_be_widened_are_not_compared() -> None:
    """An 8-bit weight, as of a quantised model."""
    model = tiny_model("llava").bfloat16()
    assert can_be_widened(model) and not can_be_widened(tiny_model("llava"))
    parts_of(model).layers[3].mlp.up_proj.weight = torch.nn.Parameter(
        torch.zeros(48, 32, dtype=torch.int8), requires_grad=False
    )
    assert not can_be_widened(model)


def test_a_model_that_overflows_is_refused_in_one_line() -> None:
    model, inputs = tiny_model("llava").half(), tiny_prompt("llava")
    inputs["pixel_values"] = inputs["pixel_values"].half()
    parts_of(model).layers[1].self_attn.q_proj.weight.data.fill_(6e4)
    with pytest.raises(HalfVError, match="not finite.*load the model in bfloat16 or float32"):
        self_checks(model, inputs, 5)


States = list[torch.Tensor]


def _one_layer_late(states: States) -> States:
    return states[-1:] + states[:-1]


def _one_token_late(states: States) -> States:
    return [state.roll(1, 0) for state in states]


def _of_another_direction(states: States) -> States:
    return [-state for state in states]


@pytest.mark.parametrize("wrong", [_one_layer_late, _one_token_late, _of_another_direction])
def test_states_that_are_not_the_models(wrong: Callable[[States], States], monkeypatch: pytest.MonkeyPatch) -> None:
    each_state = module.each_state

    def shown_wrong(model: Any, inputs: Any, look: Callable[[torch.Tensor], None], **options: Any) -> None:
        states: States = []
        each_state(model, inputs, states.append, **options)
        for state in wrong(states):
            look(state)

    monkeypatch.setattr(module, "each_state", shown_wrong)
    assert failed(tiny_model("llava"), "llava") == {LOGITS}


def test_an_entropy_that_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    entropy = module.truncated_matrix_entropy
    monkeypatch.setattr(module, "truncated_matrix_entropy", lambda tokens, k: entropy(tokens, k) + 0.01)
    assert failed(tiny_model("llava"), "llava") == {ENTROPY}


@pytest.mark.parametrize("k", [1, 2, 50])
def test_the_entropy_is_known_for_every_k(k: int) -> None:
    assert failed(tiny_model("llava"), "llava", entropy_k=k) == set()


def _noisy(scale: float, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    output = forward(*args, **kwargs)
    return output + scale * torch.randn_like(output)


def test_a_model_that_does_not_compute_the_same_twice() -> None:
    """With dropout or noise in a layer, two runs of a prompt differ, and so do all bitwise comparisons."""
    torch.manual_seed(0)
    model = tiny_model("llava")
    layer = parts_of(model).layers[2]
    layer.forward = partial(_noisy, 1e-3, layer.forward)
    assert failed(model, "llava") >= {TWICE, IDLE}
    assert ENTROPY not in failed(model, "llava")


def test_dropout_that_was_left_on() -> None:
    torch.manual_seed(0)
    model = tiny_model("llava")
    for layer in parts_of(model).layers:
        layer.self_attn.attention_dropout = 0.5
    assert failed(model, "llava") == set()
    model.train()
    assert failed(model, "llava") >= {TWICE, IDLE, MIDDLE}


def test_a_prompt_that_ends_in_a_visual_token() -> None:
    """Then skipping the last layer changes the row from which the logits are read."""
    model = tiny_model("llava")
    checks = self_checks(model, tiny_prompt("llava", after=0), 5)
    assert {check.name for check in checks if not check.passed} == {KL}


def test_a_plan_that_does_something(monkeypatch: pytest.MonkeyPatch) -> None:
    harm = Plan((Keep(layer=2, keep_ratio=0.5),))
    monkeypatch.setattr(module, "apply", lambda model, plan, family: apply(model, harm, family=family))
    assert failed(tiny_model("llava"), "llava") == {IDLE}


@pytest.mark.parametrize("wrong", [0, -1])
def test_a_run_from_the_middle_of_another_layers_output(wrong: int, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Replay._record_layer

    def recorded(self: Replay, kwargs: dict[str, Any], output: torch.Tensor) -> None:
        record(self, kwargs, output)
        self._outputs._kept[-1] = self._outputs[wrong] + (wrong == -1)

    monkeypatch.setattr(Replay, "_record_layer", recorded)
    assert failed(tiny_model("llava"), "llava") == {MIDDLE}
