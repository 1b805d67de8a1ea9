"""Ranking by score: who goes first among equals is a rule, not an accident of the device."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from halfv_core.selectors.ranking import TIE, highest


def test_of_equal_scores_the_earlier_token_comes_first() -> None:
    scores = torch.tensor([0.1, 0.3, 0.2, 0.3, 0.2, 0.3, 0.1])
    assert highest(scores[None], 7).tolist() == [[1, 3, 5, 2, 4, 0, 6]]
    assert highest(scores[None], 2).tolist() == [[1, 3]]


@pytest.mark.parametrize("value", [0.0, 1e-40, 1 / 2500, 1.0])
@pytest.mark.parametrize("size", [1, 2, 17, 2500])
def test_the_first_tokens_are_kept_if_all_are_equal(value: float, size: int) -> None:
    assert highest(torch.full((1, size), value), size).tolist() == [list(range(size))]


@given(levels=st.lists(st.integers(0, 4), min_size=1, max_size=60), seed=st.integers(0, 99), data=st.data())
@settings(max_examples=100, deadline=None)
def test_rounding_does_not_decide(levels: list[int], seed: int, data: st.DataObject) -> None:
    """Scores of a few levels, each a little off as sums in another order are: level first, then reading order."""
    noise = torch.rand(len(levels), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    exact = torch.tensor(levels, dtype=torch.float64) * 2e-3
    scores = (exact * (1 + 0.5 * TIE * (noise - 0.5))).float()
    count = data.draw(st.integers(1, len(levels)))
    expected = sorted(range(len(levels)), key=lambda token: (-levels[token], token))[:count]
    assert highest(scores[None], count).tolist() == [expected]


@given(seed=st.integers(0, 9999), size=st.integers(1, 300))
@settings(max_examples=50, deadline=None)
def test_without_ties_it_is_topk(seed: int, size: int) -> None:
    scores = torch.randperm(size, generator=torch.Generator().manual_seed(seed)).float() / size
    count = 1 + seed % size
    assert highest(scores[None], count)[0].tolist() == scores.topk(count).indices.tolist()
