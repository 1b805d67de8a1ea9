"""VisPruner: important tokens by attention, then what is left when duplicates are removed."""

import pytest
import torch

from halfv_core.errors import PlanError
from halfv_core.selectors.vispruner import VisPruner, important_then_diverse
from tests.peers import peer_cases


@pytest.mark.parametrize("case", peer_cases("vispruner"))
def test_the_tokens_are_the_peers(case: dict) -> None:
    important = int(case["tokens"] * case["important_ratio"])
    for attention, features, mask in zip(case["cls_attention"], case["features"], case["mask"], strict=True):
        chosen = important_then_diverse(attention.mean(0), features, important, case["tokens"])
        assert chosen.sort().values.tolist() == mask.nonzero()[:, 0].tolist()


def test_a_duplicate_goes_first() -> None:
    features = torch.eye(6)
    features[5] = features[2]  # in the order of attention, 2 is even and 5 is odd among the rest
    attention = torch.tensor([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    assert important_then_diverse(attention, features, 0, 5).sort().values.tolist() == [0, 1, 3, 4, 5]


def test_an_odd_number_of_others_is_no_error() -> None:
    attention = torch.arange(7.0)
    assert len(important_then_diverse(attention, torch.eye(7), 2, 4)) == 4
    assert important_then_diverse(attention, torch.eye(7), 3, 3).tolist() == [6, 5, 4]


def test_a_share_is_one() -> None:
    assert VisPruner(important_share=0.75).anchors(64) == 48
    with pytest.raises(PlanError, match="important_share is a share; got -1.0"):
        VisPruner(important_share=-1.0)
