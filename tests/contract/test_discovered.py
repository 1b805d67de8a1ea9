"""Model classes that nobody registered: understood by their structure, and admitted where the identities hold."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from halfv_core import Plan, apply
from halfv_core.errors import UnsupportedError
from halfv_core.families import FAMILIES, admission, parts_of
from halfv_core.families.unsupported import UNSUPPORTED
from probe import calibrate
from probe.calibration.settings import Settings
from probe.data.samples import Sample
from probe.trials.proofs import admit
from tests.any_model import any_model, any_prompt
from tests.contract.test_families import PLANS
from tests.masked_reference import Chosen, generate_by_recomputation, masked_logits
from tests.pictures import noise
from tests.tiny import IMAGE
from tests.tiny_classes import CLASSES, REFUSED
from tests.unit.probe.trials.test_proofs import OnePrompt

ADMITTED = sorted(CLASSES.keys() - REFUSED)
ALWAYS = ("keep_inside_freeze",)
"""Plans of the default suite; the others are run with --runslow."""
CASES = [
    pytest.param(name, plan, id=f"{name}-{label}", marks=() if label in ALWAYS else pytest.mark.slow)
    for name in ADMITTED
    for label, plan in PLANS.items()
]


@pytest.fixture(autouse=True)
def forgetful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is admitted at first."""
    monkeypatch.setattr(admission, "_admitted", set())
    monkeypatch.setattr(admission, "_file", lambda: tmp_path / "proven.json")


def test_none_of_them_is_registered_or_refused_by_name() -> None:
    assert not CLASSES.keys() & (FAMILIES.keys() | UNSUPPORTED.keys())


@pytest.mark.parametrize("name", ADMITTED)
def test_a_class_is_admitted_by_proof(name: str) -> None:
    model = any_model(name)
    assert not parts_of(model).is_tested
    processor: Any = OnePrompt(any_prompt(name))
    checks = admit(model, processor)
    assert len(checks) == 10 and admission.is_admitted(parts_of(model).pair)


class Prompts:
    """In the place of a checkpoint's processor, which tiny models of these classes do not have."""

    backend = SimpleNamespace(image_processor=SimpleNamespace(to_json_string=lambda: "{}"), chat_template="")
    takes_videos = False

    def __init__(self, name: str) -> None:
        self._name = name

    def conversation(self, messages: Any, *given: Any) -> dict[str, torch.Tensor]:
        """Another prompt for each question."""
        return any_prompt(self._name, seed=int(messages[0]["content"][-1]["text"]))

    def decode(self, ids: torch.Tensor) -> str:
        return str(ids.tolist())

    def image_backend(self) -> None:
        return None

    def image_limits(self) -> dict[str, Any]:
        return {}

    def video_settings(self) -> str:
        return ""


SCALED = ("granite_docling", "muse_glimmer", "muse_spark")
"""Classes that scale or cap their logits, whose KL curves cannot be measured."""
KINDS = ("ernie4_5_vl_moe", "fuyu", "gemma4", "glm4v", "granite_docling", "qwen3_5")
"""Those that the default suite calibrates."""
CALIBRATED = [pytest.param(name, marks=() if name in KINDS else pytest.mark.slow) for name in ADMITTED]


@pytest.mark.parametrize("name", CALIBRATED)
def test_a_class_can_be_calibrated(name: str, tmp_path: Path) -> None:
    model, processor = any_model(name), Prompts(name)
    admission.admit(parts_of(model).pair)
    noise(32, 32, 40).save(tmp_path / "0.png")
    samples = [Sample(id=str(number), images=(tmp_path / "0.png",), question=str(number)) for number in range(6)]
    settings = Settings(samples=6, held_out=0.34, max_new_tokens=2, entropy_k=5, examples=0, certify=0)
    if name in SCALED:
        with pytest.raises(UnsupportedError, match="scales or caps its logits .*; its curves cannot be measured"):
            calibrate(model, processor, samples, settings, model_id="m")  # type: ignore[arg-type]
        return
    profile = calibrate(model, processor, samples, settings, model_id="m")  # type: ignore[arg-type]
    first = parts_of(model).first_attention
    tried = [keep for test in profile.pruning_tests for keep in test.plan.keeps if test.method is None]
    assert len(profile.pruning_tests) > 5 and any(tried)
    assert all(keep.layer > first for keep in tried if "previous" in keep.reads())
    with torch.no_grad(), apply(model, profile) as run:
        model(**any_prompt(name))
    assert run.cost.flops_ratio >= 1.0


@pytest.mark.parametrize("name", REFUSED)
def test_a_class_is_refused_by_the_identity_that_fails(name: str) -> None:
    model = any_model(name)
    processor: Any = OnePrompt(any_prompt(name))
    with pytest.raises(UnsupportedError, match=f"is not admitted, .* it does not hold: {REFUSED[name]}; got largest"):
        admit(model, processor)


@pytest.mark.parametrize(("name", "plan"), CASES)
def test_plans_equal_the_masked_reference(name: str, plan: Plan) -> None:
    model, inputs = any_model(name), any_prompt(name, images=2)
    admission.admit(parts_of(model).pair)
    first = parts_of(model).first_attention
    if any("previous" in keep.reads() and keep.layer <= first for keep in plan.keeps):
        with pytest.raises(UnsupportedError, match="has attention to rank tokens by"), apply(model, plan):
            pass
        return
    with torch.no_grad(), apply(model, plan) as run:
        logits, kept = model(**inputs).logits[0], Chosen.of(run)
        out = model.generate(**inputs, do_sample=False, max_new_tokens=3, return_dict_in_generate=True)
    generated = out.sequences[0, inputs["input_ids"].shape[1] :]
    layers = [layer for layer in out.past_key_values.layers if hasattr(layer, "keys")]
    assert run.cost.kv_bytes == sum(x.nbytes for layer in layers for x in (layer.keys, layer.values))
    expected = masked_logits(model, inputs, plan, kept)
    text = inputs["input_ids"][0] != IMAGE
    torch.testing.assert_close(logits[text], expected[text], atol=1e-5, rtol=1e-5)
    assert generated.tolist() == generate_by_recomputation(model, inputs, plan, kept, 3)
