"""VisionZip: dominant tokens by attention, contextual ones at equal steps through the rest."""

import pytest
import torch

from halfv_core.errors import PlanError
from halfv_core.selectors.visionzip import VisionZip, dominant_then_contextual
from tests.peers import peer_cases
from tests.vision_readings import random_prompt


@pytest.mark.parametrize("case", peer_cases("visionzip"))
def test_the_dominant_tokens_are_the_peers(case: dict) -> None:
    for attention, expected in zip(case["cls_attention"], case["all_indices"], strict=True):
        dominant, contextual = case["dominant_num"], case["contextual_num"]
        chosen = dominant_then_contextual(attention.mean(0), dominant, dominant + contextual)
        assert (chosen[:dominant] + 1).tolist() == expected[1:].tolist()  # which counts CLS as 0


def test_contextual_tokens_are_spaced_through_the_rest() -> None:
    attention = torch.tensor([0.0, 0.9, 0.1, 0.1, 0.8, 0.1, 0.1, 0.1, 0.1])
    assert dominant_then_contextual(attention, 2, 5).tolist() == [1, 4, 0, 3, 6]
    assert dominant_then_contextual(attention, 0, 2).tolist() == [0, 4]
    assert dominant_then_contextual(attention, 2, 2).tolist() == [1, 4]


@pytest.mark.parametrize(("kept", "contextual"), [(64, 10), (128, 20), (192, 30), (1, 0)])
def test_the_shares_are_the_papers(kept: int, contextual: int) -> None:
    assert VisionZip().anchors(kept) == kept - contextual
    chosen = VisionZip().choose(random_prompt(200), kept)
    assert len(chosen) == kept


def test_a_share_is_one() -> None:
    with pytest.raises(PlanError, match="contextual_share is a share; got 1.5"):
        VisionZip(contextual_share=1.5)
