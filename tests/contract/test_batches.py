"""Batches of prompts with different numbers of visual tokens: every row gets what it would get alone."""

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halfv_core import Keep, Plan, apply
from halfv_core.families import FAMILIES
from tests.contract.test_families import FAMILY, GREEDY, KERNEL, PLANS, matrix, plans
from tests.masked_reference import masked_logits
from tests.tiny import IMAGE, continued, tiny_batch, tiny_model, tiny_prompt

BATCHES = {
    "same_shape": [{}, {}],
    "different_texts": [{"after": 9}, {"before": 1, "after": 2}, {}],
    "one_two_and_no_image": [{}, {"images": 2, "between": (3,)}, {"images": 0}],
    "three_images_beside_text": [{"images": 0, "before": 20, "after": 9}, {"images": 3, "before": 0, "after": 1}],
}


def check_rows(family: str, kernel: str, plan: Plan, prompts: list[dict[str, Any]], side: str = "left") -> None:
    model = tiny_model(family, kernel=kernel)
    batch = tiny_batch(family, prompts, side)
    length = batch["input_ids"].shape[1]
    with torch.no_grad(), apply(model, plan) as run:
        logits = model(**batch).logits
        kept = {layer: list(rows) for layer, rows in run.kept.items()}
        cost = run.cost
        generated = model.generate(**batch, **GREEDY)[:, length:] if side == "left" else None
    total = None
    for row, prompt in enumerate(prompts):
        alone = tiny_prompt(family, seed=row, **prompt)
        own = alone["input_ids"].shape[1]
        shift = length - own if side == "left" else 0
        with torch.no_grad(), apply(model, plan) as run:
            expected = model(**alone).logits[0]
            for layer, rows in run.kept.items():
                assert (kept[layer][row] - shift).tolist() == rows[0].tolist()
            total = run.cost if total is None else total + run.cost
            text = alone["input_ids"][0] != IMAGE
            # The kernels add up a batch's padded rows in another order: 1.1e-5 was seen on logits of up to 4.
            torch.testing.assert_close(logits[row, shift : shift + own][text], expected[text], atol=2e-5, rtol=1e-5)
            if generated is not None:
                assert generated[row].tolist() == model.generate(**alone, **GREEDY)[0, own:].tolist()
    assert cost == total


@matrix("prompts", BATCHES)
def test_a_row_is_as_if_alone(family: str, kernel: str, prompts: list[dict[str, Any]], plan: Plan) -> None:
    check_rows(family, kernel, plan, prompts)


@FAMILY
@KERNEL
@pytest.mark.parametrize("name", ["keep_twice", "keep_inside_freeze"])
def test_right_padding_too(family: str, kernel: str, name: str) -> None:
    check_rows(family, kernel, PLANS[name], BATCHES["one_two_and_no_image"], side="right")


@FAMILY
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_batch_under_any_plan(family: str, data: st.DataObject) -> None:
    prompt = st.fixed_dictionaries(
        {"images": st.integers(0, 2), "before": st.integers(0, 6), "after": st.integers(1, 6)}
    )
    prompts = data.draw(st.lists(prompt, min_size=1, max_size=4))
    if not any(one["images"] for one in prompts):
        prompts[0]["images"] = 1
    kernel, side = data.draw(st.sampled_from(["eager", "sdpa"])), data.draw(st.sampled_from(["left", "right"]))
    check_rows(family, kernel, data.draw(plans()), prompts, side)


@FAMILY
@KERNEL
def test_a_plan_that_does_nothing_is_bit_identical(family: str, kernel: str) -> None:
    model = tiny_model(family, kernel=kernel)
    batch = tiny_batch(family, BATCHES["one_two_and_no_image"])
    logits, ids = model(**batch).logits, model.generate(**batch, **GREEDY)
    for plan in (Plan(()), Plan((Keep(layer=2, keep_ratio=1.0),))):
        with apply(model, plan):
            assert torch.equal(model(**batch).logits, logits)
            assert torch.equal(model.generate(**batch, **GREEDY), ids)


@FAMILY
@KERNEL
@pytest.mark.parametrize("name", ["keep_twice", "keep_then_freeze"])
def test_beams_score_as_the_masked_reference_scores_them(family: str, kernel: str, name: str) -> None:
    model, plan = tiny_model(family, kernel=kernel), PLANS[name]
    prompts = [{}, {"images": 2}]
    batch = tiny_batch(family, prompts)
    length, beams = batch["input_ids"].shape[1], 3
    with torch.no_grad(), apply(model, plan) as run:
        found = model.generate(
            **batch, num_beams=beams, num_return_sequences=2, max_new_tokens=5, do_sample=False,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        kept = {layer: rows[::beams] for layer, rows in run.kept.items()}
    for number, ids in enumerate(found.sequences):
        row = number // 2
        alone = tiny_prompt(family, seed=row, **prompts[row])
        own = alone["input_ids"].shape[1]
        answer = ids[None, length:]
        positions = {layer: rows[row] - (length - own) for layer, rows in kept.items()}
        scores = masked_logits(model, continued(alone, answer), plan, positions)[own - 1 : -1].log_softmax(-1)
        likelihood = scores.gather(1, answer[0][:, None]).mean()
        torch.testing.assert_close(found.sequences_scores[number], likelihood, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_sampling_draws_as_many_answers_as_asked(family: str) -> None:
    model, batch = tiny_model(family), tiny_batch(family, BATCHES["one_two_and_no_image"])
    length = batch["input_ids"].shape[1]
    with apply(model, PLANS["keep_twice"]) as run:
        torch.manual_seed(0)
        found = model.generate(**batch, do_sample=True, num_return_sequences=2, max_new_tokens=4)[:, length:]
    assert found.shape == (6, 4)
    assert len(run.kept[1]) == 6
