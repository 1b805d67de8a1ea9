"""The selector `divprune` against the paper's own function and a slow reference."""

from typing import Any

import pytest
import torch

from halfv_core.selectors.divprune import divprune
from tests.peers import peer_cases


@pytest.mark.parametrize("case", peer_cases("divprune"))
def test_the_order_of_the_papers_code(case: dict[str, Any]) -> None:
    assert divprune(case["features"], len(case["order"])).tolist() == case["order"].tolist()


def test_each_token_is_the_farthest_from_those_before_it() -> None:
    states = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    distance = (1 - torch.cosine_similarity(states[:, None], states[None], dim=2)).fill_diagonal_(torch.inf)
    chosen = [int(distance.amin(1).argmax())]
    while len(chosen) < 19:
        nearest = distance[chosen].amin(0)
        nearest[chosen] = -torch.inf
        chosen.append(int(nearest.argmax()))
    assert divprune(states, 19).tolist() == chosen


def test_copies_are_chosen_once_and_after_all_others() -> None:
    states = torch.randn(5, 8, generator=torch.Generator().manual_seed(1)).repeat(2, 1)
    chosen = divprune(states, 10).tolist()
    assert sorted(token % 5 for token in chosen[:5]) == [0, 1, 2, 3, 4]
    assert chosen[5:] == sorted(chosen[5:])


def test_of_two_tokens_the_first() -> None:
    assert divprune(torch.randn(2, 8, generator=torch.Generator().manual_seed(1)), 1).tolist() == [0]
