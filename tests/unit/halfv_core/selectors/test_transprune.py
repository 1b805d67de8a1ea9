"""The selector `transprune` against the paper's own functions."""

from typing import Any

import pytest
import torch

from halfv_core.selectors.transprune import TransPrune, transition_weight, transprune
from tests.peers import peer_cases
from tests.prompts import StubPrompt


@pytest.mark.parametrize("case", peer_cases("transprune"))
def test_the_weights_and_tokens_of_the_papers_code(case: dict[str, Any]) -> None:
    weights = transition_weight(case["before"][:, 0], case["after"][:, 0])  # (2, n)
    torch.testing.assert_close(weights, case["transition_weights"][:, 0])
    states, projections = case["features"][0], [case["Wq"], case["Wk"], case["Wv"]]
    prompt = StubPrompt(
        states, case["visual_start"], case["visual"], projections, case["heads"], transitions=weights[None]
    )
    chosen = TransPrune().choose(prompt, case["out"].shape[1] - len(prompt.text))
    kept = torch.cat([prompt.text, prompt.visual[chosen]]).sort().values
    assert torch.equal(states[kept], case["out"][0])


def test_a_sublayer_that_turns_nothing_weighs_by_length() -> None:
    before = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    factors = torch.arange(1.0, 6.0)
    torch.testing.assert_close(transition_weight(before, before * factors[:, None]), factors / 5)


def test_a_token_of_zeros_has_a_finite_weight() -> None:
    assert transition_weight(torch.zeros(2, 4), torch.zeros(2, 4)).tolist() == [0.0, 0.0]


def test_transitions_add_up_over_layers() -> None:
    transitions = torch.rand(3, 2, 7, generator=torch.Generator().manual_seed(0))
    total = transitions.sum((0, 1))
    attention = torch.rand(7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(transprune(transitions, attention), total / total.sum() + attention / attention.sum())
