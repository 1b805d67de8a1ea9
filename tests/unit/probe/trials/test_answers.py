"""Scoring an answer in one continuation is equivalent to generating it."""

import pytest
import torch

from halfv_core import Freeze, Keep, Plan, apply
from halfv_core.families import FAMILIES
from probe.trials.answers import greedy_answer, read_answer
from tests.tiny import continued, tiny_model, tiny_prompt

PLANS = [Plan(()), Plan((Keep(layer=1, keep_ratio=0.3),)), Plan((Keep(layer=2, keep_ratio=0.6), Freeze(layers=[3, 4])))]


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("plan", PLANS, ids=["full", "keep", "keep_freeze"])
def test_agreement_is_that_of_generation(family: str, plan: Plan) -> None:
    model, verdicts = tiny_model(family), set()
    for seed in range(6):
        inputs = tiny_prompt(family, seed=seed)
        answer = greedy_answer(model, inputs, 2)
        with apply(model, plan):
            same = torch.equal(greedy_answer(model, inputs, 2), answer)
            assert read_answer(model, inputs, answer).agrees == same
        verdicts.add(same)
    assert verdicts == ({True} if plan == PLANS[0] else {True, False}) or verdicts == {False}


@pytest.mark.parametrize("family", sorted(FAMILIES))
@torch.no_grad()
def test_likelihood_is_that_of_one_whole_pass(family: str) -> None:
    model, inputs = tiny_model(family), tiny_prompt(family)
    answer = torch.tensor([4, 9, 2])
    scores = model(**continued(inputs, answer[None])).logits[0, -4:-1].log_softmax(-1)
    expected = sum(float(scores[step, token]) for step, token in enumerate(answer.tolist())) / 3
    assert read_answer(model, inputs, answer).log_likelihood == pytest.approx(expected, abs=1e-5)


def test_a_checkpoints_sampling_and_penalties_are_switched_off() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    plain = greedy_answer(model, inputs, 8)
    model.generation_config.update(do_sample=True, temperature=5.0, repetition_penalty=3.0)
    assert torch.equal(greedy_answer(model, inputs, 8), plain)


def test_the_end_token_is_part_of_the_answer() -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    first = int(greedy_answer(model, inputs, 1)[0])
    model.generation_config.eos_token_id = first
    assert greedy_answer(model, inputs, 8).tolist() == [first]
