"""Effective rank and similarity against closed forms, invariances and slow references."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.analyzers.one_run.rank import Rank, effective_rank, mean_similarity
from probe.capture.prompt_run import PromptRun
from tests.tiny import LAYERS, tiny_model, tiny_prompt


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_singular_values(values: list[float], tokens: int, width: int) -> torch.Tensor:
    """Centred tokens that have these singular values."""
    columns = torch.linalg.qr(torch.cat([torch.ones(tokens, 1).double(), random(tokens, len(values))], 1)).Q[:, 1:]
    rows = torch.linalg.qr(random(width, len(values), seed=1)).Q.T
    states: torch.Tensor = columns * torch.tensor(values).double() @ rows
    return states


def slow_rank(states: torch.Tensor) -> float:
    """By singular values."""
    centred = states.double() - states.double().mean(0)
    shares = torch.linalg.svdvals(centred)
    shares = (shares / shares.sum()).tolist()
    return math.exp(-math.fsum(share * math.log(share) for share in shares if share > 1e-12))


def slow_similarity(states: torch.Tensor) -> float:
    """Pair by pair."""
    count = len(states)
    cosines = torch.cosine_similarity(states[:, None].double(), states[None].double(), dim=-1)
    return float((cosines.sum() - cosines.diagonal().sum()) / (count * (count - 1)))


@pytest.mark.parametrize(("tokens", "width"), [(12, 40), (40, 12)])
def test_equal_singular_values_count_themselves(tokens: int, width: int) -> None:
    for rank in (1, 2, 7):
        assert float(effective_rank(with_singular_values([3.0] * rank, tokens, width))) == pytest.approx(rank, abs=1e-9)


def test_known_singular_values() -> None:
    """Shares 1/2, 1/4, 1/8, 1/8 have 1.75 bits; the entropy of their squares would be lower."""
    states = with_singular_values([4.0, 2.0, 1.0, 1.0], 20, 30)
    assert float(effective_rank(states)) == pytest.approx(2**1.75, abs=1e-9)


@pytest.mark.parametrize("tokens", [1, 2, 9])
def test_tokens_without_spread_have_rank_one(tokens: int) -> None:
    assert float(effective_rank((random(1, 12) + 1e3).expand(tokens, -1))) == 1.0


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 9), st.integers(2, 9), st.integers(0, 1000), st.floats(1e-3, 1e3))
def test_rank_does_not_depend_on_scale_rotation_and_offset(tokens: int, width: int, seed: int, scale: float) -> None:
    states = random(tokens, width, seed=seed)
    rank = float(effective_rank(states))
    assert rank == pytest.approx(slow_rank(states), abs=1e-6)
    assert 1 <= rank <= min(tokens - 1, width) + 1e-6
    moved = scale * states @ torch.linalg.qr(random(width, width, seed=seed + 1)).Q + random(1, width, seed=seed + 2)
    assert float(effective_rank(moved)) == pytest.approx(rank, abs=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.integers(2, 9), st.integers(1, 9), st.integers(0, 1000))
def test_similarity_is_the_mean_over_pairs(tokens: int, width: int, seed: int) -> None:
    states = random(tokens, width, seed=seed)
    assert float(mean_similarity(states)) == pytest.approx(slow_similarity(states), abs=1e-9)
    lengths = random(tokens, 1, seed=seed + 1).abs() + 0.1
    assert float(mean_similarity(states * lengths)) == pytest.approx(slow_similarity(states), abs=1e-9)


def test_similarity_of_copies_of_orthogonal_and_of_opposite_tokens() -> None:
    assert float(mean_similarity(random(1, 7).expand(5, -1))) == pytest.approx(1.0)
    assert float(mean_similarity(torch.eye(6))) == pytest.approx(0.0, abs=1e-7)
    assert float(mean_similarity(torch.tensor([[2.0, 0.0], [-3.0, 0.0]]))) == pytest.approx(-1.0)
    assert float(mean_similarity(torch.tensor([[0.0, 0.0], [1.0, 0.0]]))) == 0.0


def test_ranks_are_of_states_after_the_final_norm() -> None:
    run, probe = PromptRun(tiny_model("llava"), tiny_prompt("llava", images=2)), Rank()
    visual, text, alike = probe.combine({"a": probe.measure(run, [], example=False)})
    assert visual.mean == pytest.approx([slow_rank(states[run.visual]) for states in run.normed], abs=1e-4)
    assert text.mean == pytest.approx([slow_rank(states[~run.visual]) for states in run.normed], abs=1e-4)
    assert alike.mean == pytest.approx([slow_similarity(states[run.visual]) for states in run.normed], abs=1e-5)
    assert len(visual.mean) == LAYERS + 1


def test_a_single_visual_token_has_no_similarity() -> None:
    probe, one = Rank(), {"rank": {"visual": [1.0] * 3, "text": [2.0] * 3}, "similarity": None}
    assert [finding.name for finding in probe.combine({"a": one})] == ["rank_visual", "rank_text"]
    *_, alike = probe.combine({"a": one, "b": one | {"similarity": [0.5] * 3}})
    assert alike.samples == 1 and alike.mean == (0.5,) * 3
