"""HiPrune: anchors of a middle layer and their neighbours, the rest by a deep layer."""

import pytest
import torch

from halfv_core.errors import PlanError
from halfv_core.selectors.hiprune import HiPrune, anchors_and_buffers
from halfv_core.selectors.ranking import first_then
from tests.peers import peer_cases


@pytest.mark.parametrize("case", peer_cases("hiprune"))
def test_the_tokens_are_the_peers(case: dict) -> None:
    anchors = round(case["tokens"] * case["alpha"] / 5)
    shallow, deep = case["shallow_column_mean"][0], case["deep_column_mean"][0]
    chosen = first_then(anchors_and_buffers(shallow, [(1, 24, 24)], anchors), deep, case["tokens"])
    assert chosen.sort().values.tolist() == case["mask"][0].nonzero()[:, 0].tolist()


def test_buffers_stand_around_an_anchor_in_its_own_image() -> None:
    attention = torch.zeros(12 + 8)
    attention[[5, 12]] = 1.0
    kept = anchors_and_buffers(attention, [(1, 3, 4), (1, 2, 4)], 2)
    assert kept.nonzero()[:, 0].tolist() == [1, 4, 5, 6, 9, 12, 13, 16]


def test_without_anchors_the_deep_layer_decides() -> None:
    assert not anchors_and_buffers(torch.ones(6), [(1, 2, 3)], 0).any()


def test_a_share_is_one() -> None:
    with pytest.raises(PlanError, match="alpha is a share; got 2.0"):
        HiPrune(alpha=2.0)
