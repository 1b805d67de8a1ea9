"""The selector `apet` against the paper's own functions."""

from typing import Any

import pytest
import torch

from halfv_core.errors import PlanError
from halfv_core.selectors.apet import ApET, approximation_error, basis_tokens
from halfv_core.selectors.attended import best
from tests.peers import peer_cases
from tests.prompts import random_prompt


@pytest.mark.parametrize("case", peer_cases("apet"))
def test_the_basis_and_tokens_of_the_papers_code(case: dict[str, Any]) -> None:
    features, indices = case["features"][0], case["basis_indices"][0]
    basis = basis_tokens(features, case["basis"], start=int(indices[0]))
    assert basis.tolist() == indices.tolist()
    kept = best(approximation_error(features, basis), case["tokens"])
    assert kept.sort().values.tolist() == case["mask"][0].nonzero()[:, 0].tolist()


def test_combinations_of_the_basis_have_no_error() -> None:
    basis = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    states = torch.cat([basis, torch.tensor([[1.0, -2.0, 0.5]]) @ basis, torch.randn(1, 8)])
    error = approximation_error(states, torch.arange(3))
    assert error[:4].max() < 1e-3 < error[4]


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_copies_in_the_basis_are_harmless(scale: float) -> None:
    states = scale * torch.ones(6, 8)
    basis = basis_tokens(states, 4)
    assert basis.tolist() == [0, 1, 2, 3]
    error = approximation_error(states, basis)
    assert error.isfinite().all() and error.max() < scale


def test_what_is_read() -> None:
    prompt = random_prompt(20)
    for selector, states in (
        (ApET(), prompt.hidden()[prompt.visual]),
        (ApET(of="features"), prompt.vision().features()),
    ):
        error = approximation_error(states, basis_tokens(states, 10))
        assert torch.equal(selector.choose(prompt, 5), best(error, 5))


def test_no_basis_is_refused() -> None:
    with pytest.raises(PlanError, match="basis"):
        ApET(basis=0)
