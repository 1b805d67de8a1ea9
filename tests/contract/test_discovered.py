"""Model classes that nobody registered: understood by their structure, and admitted where the identities hold."""

from pathlib import Path
from typing import Any

import pytest
import torch

from halfv_core import Plan, apply
from halfv_core.errors import UnsupportedError
from halfv_core.families import FAMILIES, admission, parts_of
from halfv_core.families.unsupported import UNSUPPORTED
from probe.trials.proofs import admit
from tests.any_model import any_model, any_prompt
from tests.contract.test_families import PLANS
from tests.masked_reference import Chosen, generate_by_recomputation, masked_logits
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
