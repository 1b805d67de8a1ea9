"""The selector `clse` against the paper's own functions."""

from typing import Any

import pytest
import torch

from halfv_core.selectors.attended import best
from halfv_core.selectors.clse import CLSE, detail, evolution
from tests.peers import peer_cases
from tests.prompts import random_prompt


@pytest.mark.parametrize("case", peer_cases("clse"))
def test_the_scores_and_tokens_of_the_papers_code(case: dict[str, Any]) -> None:
    grids = [tuple(case["grid"])]
    first, now = detail(case["z_first"][0], grids), detail(case["z_now"][0], grids)
    torch.testing.assert_close(first, case["spectral_first"][0])
    torch.testing.assert_close(now, case["spectral_now"][0])
    torch.testing.assert_close(evolution(first, now), case["evolution"][0])
    scores = evolution(first, now) * case["attention"]
    torch.testing.assert_close(scores, case["score"][0])
    assert best(scores, case["keep"]).sort().values.tolist() == case["kept"].sort().values.tolist()


def test_images_and_frames_are_filtered_alone() -> None:
    states = torch.randn(2 * 12 + 20, 6, generator=torch.Generator().manual_seed(0))
    together = detail(states, [(2, 3, 4), (1, 4, 5)])
    alone = [detail(states[:12], [(1, 3, 4)]), detail(states[12:24], [(1, 3, 4)]), detail(states[24:], [(1, 4, 5)])]
    torch.testing.assert_close(together, torch.cat(alone))


def test_a_checkerboard_is_all_detail_and_an_even_picture_none() -> None:
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
    torch.testing.assert_close(detail(board.reshape(64, 1), [(1, 8, 8)]), torch.ones(64))
    assert detail(torch.ones(64, 3), [(1, 8, 8)]).abs().max() < 1e-6


@pytest.mark.parametrize("grid", [(1, 1), (1, 2), (2, 1), (1, 9), (2, 2), (3, 3)])
def test_grids_too_small_for_a_filter_lose_their_mean_alone(grid: tuple[int, int]) -> None:
    states = torch.randn(grid[0] * grid[1], 5, generator=torch.Generator().manual_seed(0))
    left = detail(states, [(1, *grid)])
    assert left.isfinite().all()
    if min(grid) == 1:
        torch.testing.assert_close(left, (states - states.mean(0)).abs().mean(1))


def test_an_even_picture_does_not_evolve() -> None:
    assert evolution(torch.zeros(6), torch.zeros(6)).tolist() == [0.5] * 6


def test_later_prunings_go_by_attention_alone() -> None:
    prompt = random_prompt(24)
    attention = prompt.attention(prompt.question[-1:])[:, 0].mean(0)[prompt.visual]
    changed = attention * evolution(
        *(detail(prompt.hidden(of)[prompt.visual], prompt.grids) for of in ("input", "own"))
    )
    assert CLSE(evolution=False).choose(prompt, 7).tolist() == attention.topk(7).indices.tolist()
    assert CLSE().choose(prompt, 7).tolist() == changed.topk(7).indices.tolist()
