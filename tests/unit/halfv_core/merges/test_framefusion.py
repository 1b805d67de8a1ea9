"""The merge `framefusion` and its selector against the paper's own function, on its first layer."""

from typing import Any

import pytest
import torch

from halfv_core.errors import PlanError
from halfv_core.merges import make_merge
from halfv_core.merges.framefusion import FrameFusionMerge
from halfv_core.selectors import make_selector
from halfv_core.selectors.framefusion import FrameFusion, frame_similarity
from tests.peers import peer_cases
from tests.prompts import StubPrompt, random_prompt


def video(states: torch.Tensor, start: int, visual: int, patches: int) -> StubPrompt:
    weights = [torch.eye(states.shape[1])] * 3
    return StubPrompt(states, start, visual, weights, 1, grids=[(visual // patches, 1, patches)])


@pytest.mark.parametrize("case", peer_cases("framefusion"))
def test_the_tokens_and_states_of_the_papers_code(case: dict[str, Any]) -> None:
    """It merges all that repeats, but no more than what the cost asks for."""
    visual = (case["patch_type"][0] >= 0).nonzero()[:, 0]
    prompt = video(case["hidden"][0], int(visual[0]), len(visual), case["patches"])
    repeats = frame_similarity(prompt.hidden()[visual], prompt.grids) >= case["similarity"]
    merged = min(int(repeats.sum()), int(len(visual) * (1 - case["cost"])))
    chosen = FrameFusion().choose(prompt, len(visual) - merged)
    left = torch.cat([prompt.text, visual[chosen]]).sort().values
    assert left.tolist() == case["positions_left"].tolist()
    states = prompt.hidden().clone()
    states[visual[chosen]] = FrameFusionMerge().merge(prompt, chosen, 0).states
    torch.testing.assert_close(states[left], case["out"][0])


def test_what_does_not_repeat_goes_by_attention() -> None:
    states = torch.randn(30, 16, generator=torch.Generator().manual_seed(0))
    prompt = video(states, 2, 24, 6)
    assert frame_similarity(prompt.hidden()[prompt.visual], prompt.grids).max() < 0.9
    received = prompt.attention(torch.arange(30), "own").mean(0).sum(0)[prompt.visual]
    chosen = FrameFusion(similarity=0.9).choose(prompt, 5)
    assert chosen.tolist() == received.topk(5).indices.tolist()
    merged = FrameFusionMerge(similarity=0.9).merge(prompt, chosen, 0)
    assert torch.equal(merged.states, prompt.hidden()[prompt.visual[chosen]])


def test_videos_do_not_continue_each_other() -> None:
    states = torch.ones(12, 4)
    assert frame_similarity(states, [(2, 1, 3), (1, 2, 3)]).tolist() == pytest.approx(
        [-2.0] * 3 + [1.0] * 3 + [-2.0] * 6
    )


def test_a_run_ends_where_a_token_is_kept() -> None:
    """One patch in five frames, of which the first and the fourth are kept."""
    states = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [1.0, 0.3], [1.0, 0.4]])
    prompt = video(states, 0, 5, 1)
    merged = FrameFusionMerge().merge(prompt, torch.tensor([3, 0]), 0)
    torch.testing.assert_close(merged.states, torch.tensor([[1.0, 0.35], [1.0, 0.1]]))


def test_an_image_has_nothing_to_merge() -> None:
    prompt = random_prompt(20)
    chosen = FrameFusion().choose(prompt, 6)
    assert torch.equal(FrameFusionMerge().merge(prompt, chosen, 0).states, prompt.hidden()[prompt.visual[chosen]])


@pytest.mark.parametrize("make", [make_selector, make_merge])
def test_a_similarity_that_is_no_cosine_is_refused(make: Any) -> None:
    with pytest.raises(PlanError, match="similarity"):
        make("framefusion", {"similarity": 1.5})
