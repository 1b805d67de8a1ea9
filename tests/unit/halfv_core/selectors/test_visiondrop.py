"""The selector `visiondrop` against the paper's own function; the states are compared with its merge."""

import pytest

from halfv_core.errors import PlanError
from halfv_core.selectors.visiondrop import VisionDrop
from tests.prompts import random_prompt


def test_dominant_tokens_are_those_that_visual_tokens_attend_to() -> None:
    prompt = random_prompt(40)
    received = prompt.attention(prompt.visual, "own")[..., prompt.visual].mean(0).sum(0)
    selector = VisionDrop(contextual_share=0.25)
    assert selector.anchors(16) == 12
    chosen = selector.choose(prompt, 16)
    assert chosen[:12].tolist() == received.topk(12).indices.tolist()
    rest = sorted(set(range(40)) - set(chosen[:12].tolist()))
    assert chosen[12:].tolist() == rest[::7][:4]


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(PlanError, match="contextual_share"):
        VisionDrop(contextual_share=share)
