"""The selector `v2drop` against the states that went through the paper's own model class."""

from typing import Any

import pytest
import torch

from halfv_core.selectors.v2drop import V2Drop, variation
from tests.peers import peer_cases
from tests.prompts import random_prompt

PRUNED = pytest.mark.parametrize(("layer", "count"), [(3, 288), (17, 144), (22, 1)])


@PRUNED
@pytest.mark.parametrize("case", peer_cases("v2drop"))
def test_the_tokens_of_the_papers_code(case: dict[str, Any], layer: int, count: int) -> None:
    """Its layers are stubs: layer i adds sin((i + 1) x + 0.01 position)."""
    before, positions = case[f"input_layer_{layer - 1}"][0], case[f"positions_layer_{layer - 1}"]
    after = before + torch.sin(before * layer + 0.01 * positions[:, None].float())
    visual = (positions >= 35) & (positions < 35 + 576)
    scores = variation(before, after)[visual]
    kept = positions[visual][scores.topk(count).indices].sort().values
    left = case[f"positions_layer_{layer}"]
    assert torch.equal(kept, left[(left >= 35) & (left < 35 + 576)])


def test_the_change_is_that_of_the_previous_layer() -> None:
    prompt = random_prompt(20)
    change = (prompt.hidden("own") - prompt.hidden("previous"))[prompt.visual].norm(dim=1)
    assert V2Drop().choose(prompt, 6).tolist() == change.topk(6).indices.tolist()


def test_half_precision_states_do_not_overflow() -> None:
    assert variation(torch.full((1, 4), -6e4).half(), torch.full((1, 4), 6e4).half()).isfinite().all()
