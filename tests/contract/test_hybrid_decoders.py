"""Decoders of which some layers keep a running state: what enters it, what it cannot do, and batches of any rows."""

from pathlib import Path

import pytest
import torch

from halfv_core import Freeze, Hide, Keep, Plan, apply
from halfv_core.errors import UnsupportedError
from halfv_core.families import admission, parts_of
from halfv_core.interventions import When
from tests.any_model import any_model, any_prompt
from tests.masked_reference import Chosen, generate_by_recomputation, masked_logits
from tests.tiny import IMAGE, padded

NAME = pytest.mark.parametrize("name", ["lfm2_vl", "qwen3_5"])
PLANS = {
    "hide": Plan((Hide(layers=[0, 2]), Freeze(layers=[3]))),
    "hide_but_some": Plan((Hide(layers=[2, 3], keep_ratio=0.3, selector="uniform"),)),
    "freeze_but_some": Plan((Freeze(layers=[1, 2, 3], keep_ratio=0.3, selector="uniform"),)),
    "rank_by_the_latest_attention": Plan(
        (Keep(layer=3, keep_ratio=0.6, selector="attention"), Keep(layer=4, keep_ratio=0.2, selector="attention"))
    ),
    "rank_after_a_pruning": Plan(
        (Keep(layer=2, keep_ratio=0.7, selector="uniform"), Keep(layer=4, keep_ratio=0.2, selector="anchor_coverage"))
    ),
}


@pytest.fixture(autouse=True)
def forgetful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is admitted here is not remembered."""
    monkeypatch.setattr(admission, "_admitted", set())
    monkeypatch.setattr(admission, "_file", lambda: tmp_path / "proven.json")


@NAME
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
@pytest.mark.parametrize("left", [0, 3])
def test_plans_equal_the_masked_reference(name: str, plan: Plan, left: int) -> None:
    """In float64: in float32 the running state of Qwen3.5 makes 1e-4 of logits of what rounding did layers before."""
    model, inputs = any_model(name).double(), padded(any_prompt(name, images=2), left)
    inputs |= {key: value.double() for key, value in inputs.items() if value.is_floating_point()}
    admission.admit(parts_of(model).pair)
    with torch.no_grad(), apply(model, plan) as run:
        logits, kept = model(**inputs).logits[0], Chosen.of(run)
        ids = model.generate(**inputs, do_sample=False, max_new_tokens=4)[0, inputs["input_ids"].shape[1] :]
    text = (inputs["input_ids"][0] != IMAGE) & inputs["attention_mask"][0].bool()
    expected = masked_logits(model, inputs, plan, kept)
    torch.testing.assert_close(logits[text], expected[text], atol=1e-5, rtol=1e-5)
    assert ids.tolist() == generate_by_recomputation(model, inputs, plan, kept, 4)


@NAME
@torch.no_grad()
def test_rows_that_keep_different_numbers_are_as_if_alone(name: str) -> None:
    """Beside a row of text, whose slots are never pruned, a row is padded in front, where states do not see it."""
    model, inputs, plan = any_model(name), any_prompt(name), Plan((Keep(layer=2, keep_ratio=0.25, selector="uniform"),))
    admission.admit(parts_of(model).pair)
    length = inputs["input_ids"].shape[1]
    text = torch.full((1, length), 7)
    batch = inputs | {
        name: torch.cat([value, torch.zeros_like(value)])
        for name, value in inputs.items()
        if value.shape == (1, length)
    }
    batch["input_ids"][1], batch["attention_mask"][1] = text, 1
    with apply(model, plan):
        alone = model(**inputs).logits[0, -1], model(input_ids=text).logits[0, -1]
        together = model.generate(**batch, do_sample=False, max_new_tokens=3)
        logits = model(**batch).logits[:, -1]
        singly = model.generate(**inputs, do_sample=False, max_new_tokens=3)
    torch.testing.assert_close(logits, torch.stack(alone), atol=1e-5, rtol=1e-5)
    assert torch.equal(together[0], singly[0])


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan((Keep(layer=3, keep_ratio=0.5, cache="everywhere"),)), "cannot be taken out of the state"),
        (Plan((Keep(layer=1, keep_ratio=0.5),)), "no layer before layer 1 has attention .* layer 2 or later"),
        (Plan((When(rule="settled", from_layer=2, then={"keep_ratio": 0.5}),)), "rules of a When ask about attention"),
    ],
)
def test_what_states_cannot_do_is_refused(plan: Plan, said: str) -> None:
    model = any_model("lfm2_vl")
    admission.admit(parts_of(model).pair)
    with pytest.raises(UnsupportedError, match=said), apply(model, plan):
        pass
