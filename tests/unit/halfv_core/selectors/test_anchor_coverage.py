"""The selector `anchor_coverage` against a slow, obvious reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from halfv_core.selectors.anchor_coverage import AnchorCoverage, _least_typical, cover


def cover_one(states: torch.Tensor, seeds: torch.Tensor, count: int) -> torch.Tensor:
    """`cover` of a single prompt: (V, D) and (S,) -> (count,)."""
    return cover(states[None], seeds[None], [len(seeds)], [count], [len(states)])[0]


def slow_cover(states: torch.Tensor, seeds: list[int], count: int) -> list[int]:
    """Farthest-point fill, one pair at a time."""
    chosen = list(seeds)
    while len(chosen) < count:
        best, farthest = -1, -float("inf")
        for token in range(len(states)):
            if token in chosen:
                continue
            nearest = min(1 - float(torch.cosine_similarity(states[token], states[other], dim=0)) for other in chosen)
            if nearest > farthest:
                best, farthest = token, nearest
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("seed", range(5))
def test_cover_equals_the_slow_fill(seed: int) -> None:
    states = torch.randn(20, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).float()
    assert cover_one(states, torch.tensor([3, 7]), 12).tolist() == slow_cover(states, [3, 7], 12)


def test_cover_finds_every_cluster_before_any_twin() -> None:
    centres = torch.eye(5).repeat_interleave(4, dim=0)  # five clusters of four equal tokens
    chosen = cover_one(centres, torch.tensor([0]), 5)
    assert sorted((chosen // 4).tolist()) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("seed", range(20))
def test_of_two_equally_untypical_tokens_the_first_is_chosen(seed: int) -> None:
    class Two(Scored):
        visual_counts = (2,)

        def normed_hidden(self) -> torch.Tensor:
            return torch.randn(1, 2, 32, generator=torch.Generator().manual_seed(seed))

    assert AnchorCoverage().select(Two(), [1]).tolist() == [[0]]


class Scored:
    """Ten tokens in two groups of directions; token 9 is attended most."""

    visual_counts = (10,)
    device = torch.device("cpu")

    def attention_scores(self, scoring: str, rope: bool) -> torch.Tensor:
        self.asked = (scoring, rope)
        return torch.arange(10).float()[None]

    def normed_hidden(self) -> torch.Tensor:
        return torch.eye(10)[None]


def test_anchors_come_first_and_are_floor_of_the_share() -> None:
    scored = Scored()
    chosen = AnchorCoverage(anchor_share=0.5).select(scored, [5])[0]
    assert chosen[:2].tolist() == [9, 8]
    assert scored.asked == ("attention", False)
    assert AnchorCoverage(anchor_share=1.0).select(scored, [4])[0].tolist() == [9, 8, 7, 6]


def test_copies_of_chosen_tokens_follow_in_reading_order() -> None:
    """Once every direction is covered only copies are left, whose distances are nothing but rounding."""
    tokens = torch.randn(4, 96, generator=torch.Generator().manual_seed(0))
    lengths = torch.linspace(0.3, 3.0, 24)[:, None]
    chosen = cover_one(tokens.repeat(6, 1) * lengths, torch.tensor([6]), 24).tolist()  # of token 2
    assert sorted(token % 4 for token in chosen[:4]) == [0, 1, 2, 3]
    assert max(chosen[1:4]) < 4  # the first of each six copies
    assert chosen[4:] == sorted(chosen[4:])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@given(
    seed=st.integers(0, 999),
    tokens=st.integers(2, 40),
    copies=st.integers(1, 3),
    scale=st.sampled_from([0.01, 1.0, 300.0]),
)
@settings(max_examples=25, deadline=None)
def test_coverage_of_16_bit_states_is_that_of_the_same_numbers_in_32(
    dtype: torch.dtype, seed: int, tokens: int, copies: int, scale: float
) -> None:
    states = scale * torch.randn(tokens, 24, generator=torch.Generator().manual_seed(seed))
    states = states.repeat(copies, 1).to(dtype)
    count = 1 + seed % len(states)
    seeds = torch.tensor([seed % len(states)])
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bool(seed % 2)):  # which must not round the products
        chosen = cover_one(states, seeds, count).tolist()
        first = _least_typical(states[None], [len(states)]).tolist()
    assert chosen == cover_one(states.float(), seeds, count).tolist()
    assert first == _least_typical(states.float()[None], [len(states)]).tolist()
    assert len(set(chosen)) == count
    once = min(count, tokens)  # as long as there are tokens of which no copy has been chosen
    assert len({token % tokens for token in chosen[:once]}) == once
