"""The selector `otprune` against the paper's own function."""

from typing import Any

import pytest
import torch

from halfv_core.selectors.map_dpp import map_dpp
from halfv_core.selectors.otprune import OTPrune, otprune_kernel
from tests.peers import peer_cases
from tests.prompts import random_prompt


@pytest.mark.parametrize("case", peer_cases("otprune"))
def test_the_tokens_of_the_papers_code(case: dict[str, Any]) -> None:
    chosen = map_dpp(otprune_kernel(case["features"]), round(case["ratio"] * len(case["features"])))
    assert chosen.sort().values.tolist() == case["selected"].sort().values.tolist()


def test_the_kernel_does_not_depend_on_the_scale_of_a_channel() -> None:
    states = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    scaled = states * torch.tensor([1.0, 10.0, 0.01, 300.0])
    torch.testing.assert_close(otprune_kernel(states), otprune_kernel(scaled))


def test_a_channel_of_zeros_is_harmless() -> None:
    assert otprune_kernel(torch.zeros(3, 2)).equal(torch.eye(3))


def test_without_weight_all_tokens_are_equal() -> None:
    assert OTPrune(weight=0.0).choose(random_prompt(9), 4).tolist() == [0, 1, 2, 3]
