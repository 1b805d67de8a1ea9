"""Linear CKA against its definitions, invariances, and what the biased estimator does with few tokens."""

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from probe.analyzers.one_run import cka
from probe.analyzers.one_run.cka import CKA, linear_cka
from probe.capture.prompt_run import PromptRun
from tests.tiny import LAYERS, tiny_model, tiny_prompt


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def biased(x: torch.Tensor, y: torch.Tensor) -> float:
    """The formula in the space of features."""
    x, y = x - x.mean(0), y - y.mean(0)
    return float((y.T @ x).square().sum() / ((x.T @ x).norm() * (y.T @ y).norm()))


def unbiased_hsic(x: torch.Tensor, y: torch.Tensor) -> float:
    """Song et al. (2012), equation 5, without centring anything."""
    n, ones = len(x), torch.ones(len(x)).double()
    k, m = (states @ states.T for states in (x, y))
    k, m = k - k.diag().diag(), m - m.diag().diag()
    middle = (ones @ k @ ones) * (ones @ m @ ones) / ((n - 1) * (n - 2))
    return float(((k @ m).trace() + middle - 2 / (n - 2) * (ones @ k @ m @ ones)) / (n * (n - 3)))


def debiased(x: torch.Tensor, y: torch.Tensor) -> float:
    return unbiased_hsic(x, y) / (unbiased_hsic(x, x) * unbiased_hsic(y, y)) ** 0.5


@pytest.mark.parametrize(("is_debiased", "slow"), [(True, debiased), (False, biased)])
@settings(deadline=None, max_examples=25)
@given(st.integers(4, 9), st.integers(2, 9), st.integers(0, 1000), st.floats(1e-2, 1e2))
def test_every_pair_and_what_cka_does_not_depend_on(
    is_debiased: bool, slow: Callable[..., float], tokens: int, width: int, seed: int, scale: float
) -> None:
    states = random(4, tokens, width, seed=seed)
    rotation = torch.linalg.qr(random(width, width, seed=seed + 1)).Q
    states[3] = scale * states[0] @ rotation + random(1, width, seed=seed + 2)
    got = linear_cka(states, debiased=is_debiased)
    for i, j in itertools.product(range(3), repeat=2):
        assert float(got[i, j]) == pytest.approx(max(-1.0, min(1.0, slow(states[i], states[j]))), abs=1e-6)
    torch.testing.assert_close(got[3], got[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(got.diagonal(), torch.ones(4).double())
    torch.testing.assert_close(got, got.T)
    assert got.abs().max() <= 1 and (is_debiased or got.min() >= 0)


def test_unrelated_layers_of_few_wide_tokens() -> None:
    """20 tokens of 2000 features each: the biased estimator finds them alike."""
    states = random(2, 20, 2000)
    assert float(linear_cka(states, debiased=False)[0, 1]) > 0.95
    assert abs(float(linear_cka(states)[0, 1])) < 0.15


def test_two_groups_of_tokens_that_both_layers_know() -> None:
    groups = torch.tensor([[1.0, 0.0]] * 5 + [[0.0, 3.0]] * 5)
    torch.testing.assert_close(linear_cka(torch.stack([groups, -2 * groups.flip(1)])), torch.ones(2, 2))


NOTHING = {"identical": (random(1, 9) + 1e3).float().expand(7, -1), "equally far": torch.eye(5)}


@pytest.mark.parametrize(("kind", "is_debiased"), [("identical", True), ("identical", False), ("equally far", True)])
def test_tokens_that_leave_nothing_to_compare(kind: str, is_debiased: bool) -> None:
    states = torch.stack([NOTHING[kind], random(*NOTHING[kind].shape).float()])
    torch.testing.assert_close(linear_cka(states, debiased=is_debiased), torch.tensor([[0.0, 0.0], [0.0, 1.0]]))


def test_gram_matrices_may_be_made_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    states = random(3, 11, 6)
    whole = linear_cka(states), linear_cka(states, debiased=False)
    monkeypatch.setattr(cka, "_CELLS_AT_ONCE", 3 * 11 * 4)
    torch.testing.assert_close(linear_cka(states), whole[0])
    torch.testing.assert_close(linear_cka(states, debiased=False), whole[1])


def test_half_precision_is_widened() -> None:
    states = random(3, 30, 16).bfloat16()
    torch.testing.assert_close(linear_cka(states), linear_cka(states.float()))


def test_findings_are_of_states_after_the_final_norm() -> None:
    probe, items = CKA(), {}
    runs = [PromptRun(tiny_model("llava"), tiny_prompt("llava", images=count)) for count in (1, 2)]
    for run in runs:
        items[str(len(items))] = probe.measure(run, [], example=False)
    visual, text = probe.combine(items)
    wanted = torch.stack([linear_cka(run.normed[:, run.visual]) for run in runs]).mean(0)
    torch.testing.assert_close(torch.tensor(visual.mean), wanted)
    assert visual.group == "visual" and text.group == "text" and len(text.mean) == LAYERS + 1


def test_samples_with_too_few_tokens_say_nothing() -> None:
    run, probe = PromptRun(tiny_model("llava"), tiny_prompt("llava", before=1, after=2)), CKA()
    item = probe.measure(run, [], example=False)
    assert item["text"] is None
    assert [finding.name for finding in probe.combine({"a": item})] == ["cka_visual"]
