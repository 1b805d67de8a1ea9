"""The merge `apet` against the paper's own functions, whose output is in half precision."""

from typing import Any, Literal

import pytest
import torch

from halfv_core.errors import PlanError
from halfv_core.merges.apet import ApETMerge, apet_merge
from halfv_core.selectors.apet import approximation_error, basis_tokens
from halfv_core.selectors.attended import best
from tests.peers import peer_cases
from tests.prompts import random_prompt


@pytest.mark.parametrize("case", peer_cases("apet"))
def test_the_states_of_the_papers_code(case: dict[str, Any]) -> None:
    features, basis = case["features"][0], case["basis_indices"][0]
    chosen = best(approximation_error(features, basis), case["tokens"])
    merged = apet_merge(features, chosen, basis)
    torch.testing.assert_close(merged, case["out_half"][0, chosen].float(), atol=2e-3, rtol=2e-3)


def test_pruned_tokens_go_to_the_most_similar_chosen_one() -> None:
    states = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.1], [3.0, 0.0], [0.1, 4.0]])
    merged = apet_merge(states, torch.tensor([0, 1, 4]), torch.tensor([3]))
    torch.testing.assert_close(merged, torch.tensor([[2.0, 0.1 / 3], [0.0, 1.0], [3.0, 0.0]]))


def test_basis_tokens_lie_in_the_order_of_their_places() -> None:
    states = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    merged = apet_merge(states, torch.tensor([0, 7, 3, 5]), torch.tensor([1, 2, 8]))
    assert torch.equal(merged[1:], states[[8, 1, 2]])  # places 7, 3 and 5


@pytest.mark.parametrize("of", ["states", "features"])
@pytest.mark.parametrize("count", [1, 2, 10, 19])
def test_few_chosen_tokens_leave_room_for_one_that_is_merged(count: int, of: Literal["states", "features"]) -> None:
    prompt = random_prompt(20)
    chosen = torch.arange(20).flip(0)[:count]
    merged = ApETMerge(of=of).merge(prompt, chosen, 0)
    assert torch.equal(merged.chosen, chosen) and merged.states.isfinite().all()
    source = prompt.hidden()[prompt.visual] if of == "states" else prompt.vision().features()
    expected = apet_merge(source, chosen, basis_tokens(source, 10))
    expected = expected if of == "states" else prompt.vision().project(expected)
    torch.testing.assert_close(merged.states, expected)


def test_no_basis_is_refused() -> None:
    with pytest.raises(PlanError, match="basis"):
        ApETMerge(basis=0)
