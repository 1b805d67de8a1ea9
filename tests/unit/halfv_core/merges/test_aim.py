"""The merge `aim` and its selector against the paper's own function and a slow reference."""

from typing import Any

import pytest
import torch

from halfv_core.merges.aim import AIMMerge
from halfv_core.selectors.aim_merging import AIMMerging, bipartite_merge, merge_down
from tests.peers import peer_cases
from tests.prompts import random_prompt


@pytest.mark.parametrize("case", peer_cases("aim"))
def test_the_states_of_the_papers_code(case: dict[str, Any]) -> None:
    left, merged = bipartite_merge(case["merge_in"][0], case["merge_r"])
    torch.testing.assert_close(merged, case["merge_out"][0])
    assert len(set(left.tolist())) == len(left)


@pytest.mark.parametrize("tokens", [8, 9])
def test_each_source_goes_to_its_most_similar_target(tokens: int) -> None:
    states = torch.randn(tokens, 5, generator=torch.Generator().manual_seed(tokens))
    similarity = torch.cosine_similarity(states[:, None], states[None], dim=2)
    pairs = [(source, 1 + 2 * int(similarity[source, 1::2].argmax())) for source in range(0, tokens, 2)]
    pairs.sort(key=lambda pair: -float(similarity[pair]))
    left, merged = bipartite_merge(states, 3)
    assert left.tolist() == [source for source, _ in pairs[3:]] + list(range(1, tokens, 2))
    for token, state in zip(left.tolist(), merged, strict=True):
        group = [token] + [source for source, target in pairs[:3] if target == token]
        torch.testing.assert_close(state, states[group].mean(0))


@pytest.mark.parametrize("count", [1, 3, 10, 24, 25, 38, 39])
def test_any_number_of_tokens_is_reached(count: int) -> None:
    prompt = random_prompt(40)
    chosen = AIMMerging().choose(prompt, count)
    merged = AIMMerge().merge(prompt, chosen, 0)
    assert torch.equal(merged.chosen, chosen) and len(set(chosen.tolist())) == count
    assert merged.states.shape == (count, 32)


def test_a_quarter_is_two_halvings() -> None:
    states = torch.randn(16, 5, generator=torch.Generator().manual_seed(0))
    first, half = bipartite_merge(states, 8)
    second, quarter = bipartite_merge(half, 4)
    left, merged = merge_down(states, 4)
    assert torch.equal(left, first[second]) and torch.equal(merged, quarter)
