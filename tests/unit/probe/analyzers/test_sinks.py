"""Sinks and the entropy without them, against closed forms and a slow reference on made-up hidden states."""

import math
import statistics
from collections.abc import Sequence

import pytest
import torch

from probe.analyzers import sinks as module
from probe.analyzers.sinks import SINK_RATIO, SinkCurves, sink_curves, token_norms
from probe.analyzers.tme import entropy_curves
from tests.reference import matrix_entropy

EVERYONE = torch.ones(10, dtype=torch.bool)


def states(layers: int = 4, tokens: int = 30, width: int = 12, seed: int = 0) -> torch.Tensor:
    return torch.randn(layers, tokens, width, generator=torch.Generator().manual_seed(seed))


def slow(raw: torch.Tensor, normed: torch.Tensor, group: Sequence[int], k: int) -> list[tuple[int, float, float]]:
    """Number of sinks, norm ratio and entropy without sinks at each layer, one token after another."""
    rows = []
    for before, after in zip(raw.double(), normed.double(), strict=True):
        norms = {token: math.sqrt(sum(value**2 for value in before[token].tolist())) for token in group}
        median = statistics.median_low(norms.values())
        others = [token for token in group if norms[token] <= SINK_RATIO * median]
        rows.append((len(group) - len(others), max(norms.values()) / median, matrix_entropy(after[others], k)))
    return rows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sinks_of_both_groups_are_what_a_slow_search_finds(dtype: torch.dtype) -> None:
    raw = states().to(dtype)
    raw[1, [3, 20]] *= 40  # a visual and a text token
    raw[2, 21] *= 400
    normed = torch.nn.functional.layer_norm(raw, raw.shape[-1:])
    visual = torch.arange(30) < 18
    curves, norms = entropy_curves(normed, visual, k=6), token_norms(raw)
    for group, whole in ((visual, curves.visual), (~visual, curves.text)):
        found = sink_curves(norms, normed, group, whole, k=6)
        wanted = slow(raw, normed, group.nonzero()[:, 0].tolist(), k=6)
        assert found.tokens.tolist() == [row[0] for row in wanted]
        assert found.norm_ratio.tolist() == pytest.approx([row[1] for row in wanted], rel=1e-5)
        assert found.entropy_without.tolist() == pytest.approx([row[2] for row in wanted], abs=1e-6)
    assert found.tokens.tolist() == [0, 1, 1, 0]


def test_one_long_token_hides_the_directions_of_the_others() -> None:
    """Tokens +e and -e in 4 directions have the entropy ln 4; one token of length 10^6 makes it nearly 0."""
    cross = torch.cat([torch.eye(5)[:4], -torch.eye(5)[:4]])
    hidden = torch.cat([cross, 1e6 * torch.eye(5)[4:]])[None]  # (1, 9, 5)
    everyone = torch.ones(9, dtype=torch.bool)
    whole = module.truncated_matrix_entropy(hidden)
    found = sink_curves(token_norms(hidden), hidden, everyone, whole)
    assert whole.item() < 1e-9
    assert found.entropy_without.item() == pytest.approx(math.log(4), abs=1e-9)
    assert (found.tokens.item(), found.norm_ratio.item()) == (1, pytest.approx(1e6))


def of_norms(*norms: float) -> SinkCurves:
    hidden = torch.randn(1, 10, 4, generator=torch.Generator().manual_seed(1))
    return sink_curves(torch.tensor([norms], dtype=torch.float64), hidden, EVERYONE, torch.ones(1).double())


def test_ten_times_the_median_is_no_sink_yet() -> None:
    assert of_norms(*[1.0] * 9, SINK_RATIO).tokens.item() == 0
    assert of_norms(*[1.0] * 9, SINK_RATIO + 1e-9).tokens.item() == 1


def test_at_most_half_of_a_group_are_sinks() -> None:
    found = of_norms(*[1.0] * 5, *[99.0] * 5)
    assert (found.tokens.item(), found.norm_ratio.item()) == (5, 99.0)


@pytest.mark.parametrize("norms", [[0.0] * 10, [0.0] * 6 + [1.0] * 4])
def test_where_most_states_are_zero_the_norms_say_nothing(norms: list[float]) -> None:
    found = of_norms(*norms)
    assert (found.tokens.item(), found.norm_ratio.item(), found.entropy_without.item()) == (0, 1.0, 1.0)


def test_no_entropy_is_computed_twice_where_there_is_no_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []
    monkeypatch.setattr(module, "truncated_matrix_entropy", lambda tokens, k: measured.append(tokens) or 7.0)
    raw = states()
    raw[2, 5] *= 100
    whole = torch.tensor([1.1, 1.2, 1.3, 1.4], dtype=torch.float64)
    found = sink_curves(token_norms(raw), raw, torch.ones(30, dtype=torch.bool), whole)
    assert found.entropy_without.tolist() == [*whole[:2].tolist(), 7.0, *whole[3:].tolist()]
    assert [len(tokens) for tokens in measured] == [29]
    assert whole.tolist() == [1.1, 1.2, 1.3, 1.4]


@pytest.mark.parametrize(("dtype", "value"), [(torch.float16, 6e4), (torch.float32, 1e30)])
def test_norms_are_finite_where_their_squares_are_not(dtype: torch.dtype, value: float) -> None:
    norms = token_norms(torch.full((2, 3, 64), value, dtype=dtype))
    assert norms.dtype == torch.float64
    assert bool(norms.isfinite().all())
    if dtype == torch.float16:
        assert norms[0, 0].item() == pytest.approx(8 * 6e4, rel=1e-3)
