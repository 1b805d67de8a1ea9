"""Greedy MAP inference against determinants, one by one."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from halfv_core.selectors.map_dpp import map_dpp


def slow_map_dpp(kernel: torch.Tensor, count: int) -> list[int]:
    """Add the token whose block of the kernel has the largest determinant."""
    chosen: list[int] = []
    for _ in range(count):
        rest = [token for token in range(len(kernel)) if token not in chosen]
        blocks = [kernel[[*chosen, token]][:, [*chosen, token]] for token in rest]
        chosen.append(rest[int(torch.stack([block.logdet() for block in blocks]).argmax())])
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_each_token_raises_the_determinant_most(seed: int) -> None:
    states = torch.randn(15, 20, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    kernel = states @ states.T
    assert map_dpp(kernel.float(), 12).tolist() == slow_map_dpp(kernel, 12)


def test_copies_come_after_every_direction_and_in_reading_order() -> None:
    states = torch.randn(4, 16, generator=torch.Generator().manual_seed(0)).repeat(3, 1)
    chosen = map_dpp(states @ states.T, 12).tolist()
    assert sorted(chosen[:4]) == [0, 1, 2, 3]
    assert chosen[4:] == sorted(chosen[4:])


def test_tokens_without_any_variance_are_chosen_last_and_in_reading_order() -> None:
    kernel = torch.zeros(5, 5)
    kernel[3, 3] = 1.0
    assert map_dpp(kernel, 5).tolist() == [3, 0, 1, 2, 4]


@settings(max_examples=60, deadline=None)
@given(tokens=st.integers(1, 30), width=st.integers(1, 12), scale=st.sampled_from([1e-6, 1.0, 1e6]), data=st.data())
def test_that_many_distinct_tokens(tokens: int, width: int, scale: float, data: st.DataObject) -> None:
    """Also of a kernel whose rank is lower than the number of tokens to choose."""
    count = data.draw(st.integers(1, tokens))
    states = scale * torch.randn(tokens, width, generator=torch.Generator().manual_seed(tokens))
    chosen = map_dpp(states @ states.T, count)
    assert chosen.dtype == torch.long and len(set(chosen.tolist())) == count
    assert torch.equal(chosen, map_dpp(states @ states.T, count))
