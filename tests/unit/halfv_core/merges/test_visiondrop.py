"""The merge `visiondrop` against the paper's own function."""

from typing import Any

import pytest
import torch

from halfv_core.merges.visiondrop import VisionDropMerge
from halfv_core.selectors.visiondrop import VisionDrop
from tests.peers import peer_cases
from tests.prompts import StubPrompt, random_prompt


@pytest.mark.parametrize("case", peer_cases("visiondrop"))
def test_the_states_of_the_papers_code(case: dict[str, Any]) -> None:
    """It puts contextual tokens after the dominant ones, where here each stays at its place."""
    states, weights = case["features"][0], [case["Wq"], case["Wk"], case["Wv"]]
    prompt = StubPrompt(states, case["visual_start"], case["visual"], weights, case["heads"])
    dominant, count = case["dominant"], case["dominant"] + case["contextual"]
    selector = VisionDrop(contextual_share=case["contextual"] / count)
    chosen = selector.choose(prompt, count)
    merged = VisionDropMerge().merge(prompt, chosen, selector.anchors(count))
    assert selector.anchors(count) == dominant and torch.equal(merged.chosen, chosen)
    visual = case["out"][0, case["visual_start"] : case["visual_start"] + count]
    torch.testing.assert_close(merged.states[chosen[:dominant].argsort()], visual[:dominant])
    torch.testing.assert_close(merged.states[dominant:], visual[dominant:])


def test_without_contextual_tokens_nothing_is_merged() -> None:
    prompt, chosen = random_prompt(6), torch.tensor([4, 1])
    merged = VisionDropMerge().merge(prompt, chosen, 2)
    assert torch.equal(merged.states, prompt.hidden()[prompt.visual[chosen]])
