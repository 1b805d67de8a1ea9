"""Prompts in one batch give what they give alone; the vision tower's outputs can be taken from an earlier run."""

import pytest
import torch
from transformers import PreTrainedModel

from halfv_core import Keep, Plan, apply
from halfv_core.families import parts_of
from probe.evaluation.methods.runs import TowerOutputs
from probe.trials.answers import greedy_answer, greedy_answers
from probe.trials.batches import batches
from tests.tiny import TINY, tiny_model, tiny_prompt

PLAN = Plan((Keep(layer=1, keep_ratio=0.5, selector="uniform"),))


@pytest.mark.parametrize("family", TINY)
def test_answers_of_a_batch_are_those_of_its_prompts(family: str) -> None:
    model = tiny_model(family)
    prompts = [dict(tiny_prompt(family, seed=seed, before=before)) for seed, before in ((0, 3), (1, 6), (2, 3))]
    joined = batches(prompts)
    assert sorted(row for rows, _ in joined for row in rows) == [0, 1, 2]
    towers = [TowerOutputs(parts_of(model).core) for _ in joined]
    for plan in (Plan(()), PLAN):  # the second takes what the tower made of the images from the first
        together: dict[int, list[int]] = {}
        for (rows, inputs), tower in zip(joined, towers, strict=True):
            with tower.remembered(plan), apply(model, plan):
                found = greedy_answers(model, inputs, 4)
            together |= {row: ids.tolist() for row, ids in zip(rows, found, strict=True)}
        assert [together[row] for row in range(3)] == [answer(model, plan, inputs) for inputs in prompts]


def test_images_of_other_shapes_are_another_batch() -> None:
    prompts = [
        {"input_ids": torch.ones(1, length, dtype=torch.long), "pixel_values": torch.zeros(1, 3, side, side)}
        for length, side in ((5, 8), (7, 9), (6, 8))
    ]
    joined = batches(prompts, pad=9)
    assert [rows for rows, _ in joined] == [[0, 2], [1]]
    assert joined[0][1]["input_ids"].tolist() == [[9, 1, 1, 1, 1, 1], [1] * 6]
    assert joined[0][1]["pixel_values"].shape == (2, 3, 8, 8)


def test_the_tower_runs_once_but_for_plans_that_look_into_it() -> None:
    model, calls = tiny_model("llava"), []
    core = parts_of(model).core
    core.vision_tower.register_forward_hook(lambda *_: calls.append(1))
    inputs, tower = tiny_prompt("llava"), TowerOutputs(core)
    looking = Plan((Keep(layer=0, keep_ratio=0.5, selector="vispruner"),))
    assert "vision" in looking.reads()
    for plan, runs in ((Plan(()), 1), (PLAN, 1), (looking, 2), (PLAN, 2)):
        with tower.remembered(plan):
            answer(model, plan, dict(inputs))
        assert len(calls) == runs


def answer(model: PreTrainedModel, plan: Plan, inputs: dict[str, torch.Tensor]) -> list[int]:
    with apply(model, plan):
        return list(greedy_answer(model, inputs, 4).tolist())
