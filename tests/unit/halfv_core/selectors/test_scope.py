"""The selector `scope` against the paper's own function."""

from typing import Any

import pytest
import torch

from halfv_core.selectors.scope import Scope, scope
from tests.peers import peer_cases
from tests.prompts import random_prompt


@pytest.mark.parametrize("case", peer_cases("scope"))
def test_the_order_of_the_papers_code(case: dict[str, Any]) -> None:
    features, attention, count = case["features"][0], case["cls_attention_sum"][0], case["tokens"]
    assert scope(features, attention, count).tolist() == case["order"][0].tolist()
    assert scope(features, 0.01 * attention, count).tolist() == case["order"][0].tolist()
    assert scope(features, None, count).tolist() == case["order_coverage_only"][0].tolist()


def test_what_adds_nothing_follows_in_reading_order() -> None:
    assert scope(torch.eye(3).repeat(2, 1), None, 6).tolist() == [0, 1, 2, 3, 4, 5]
    assert scope(torch.eye(4), torch.tensor([0.0, 0.0, 0.1, 0.0]), 4).tolist() == [2, 0, 1, 3]


def test_what_is_read() -> None:
    prompt = random_prompt(20)
    features, attention = prompt.vision().features(), prompt.vision().attention(-2)
    states = prompt.hidden()[prompt.visual]
    assert torch.equal(Scope().choose(prompt, 6), scope(features, attention, 6))
    assert torch.equal(Scope(of="states").choose(prompt, 6), scope(states, attention, 6))
    assert torch.equal(Scope(of="states", coverage_only=True).choose(prompt, 6), scope(states, None, 6))
    assert Scope(of="states", coverage_only=True).reads() == frozenset()
    assert Scope(of="states").reads() == Scope(coverage_only=True).reads() == {"vision"}
