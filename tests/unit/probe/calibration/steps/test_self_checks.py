"""The self-checks pass on every family, and each fails if what it checks is broken."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from halfv_core import Keep, Plan, apply
from halfv_core.families import parts_of
from probe.calibration.steps import self_checks as module
from probe.calibration.steps.self_checks import self_checks
from probe.capture.hidden_states import Capture
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
    assert [check for check in self_checks(model, inputs, 5) if not check.passed] == []


def _one_layer_late(found: Capture) -> Capture:
    return found._replace(hidden=found.hidden.roll(1, 0))


def _one_token_late(found: Capture) -> Capture:
    return found._replace(hidden=found.hidden.roll(1, 1))


def _not_normed(found: Capture) -> Capture:
    return found._replace(hidden=2.0 * found.hidden)


@pytest.mark.parametrize("wrong", [_one_layer_late, _one_token_late, _not_normed])
def test_states_that_are_not_the_models(wrong: Callable[[Capture], Capture], monkeypatch: pytest.MonkeyPatch) -> None:
    capture = module.capture
    monkeypatch.setattr(module, "capture", lambda *args, **options: wrong(capture(*args, **options)))
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
        self._outputs[-1] = self._outputs[wrong] + (wrong == -1)

    monkeypatch.setattr(Replay, "_record_layer", recorded)
    assert failed(tiny_model("llava"), "llava") == {MIDDLE}
