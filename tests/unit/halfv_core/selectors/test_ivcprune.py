"""The selector `ivcprune`: its similarity against the paper's own function, the rest against a slow reading of it."""

from typing import Any

import pytest
import torch

from halfv_core.errors import PlanError
from halfv_core.selectors import make_selector
from halfv_core.selectors.ivcprune import IVCPrune, telling_positions, value_similarity
from tests.peers import peer_cases
from tests.prompts import random_prompt


@pytest.mark.parametrize("case", peer_cases("ivcprune"))
def test_the_similarity_of_the_papers_code(case: dict[str, Any]) -> None:
    values = case["values_b_s_h_d"][0].transpose(0, 1)
    visual = values[:, case["visual_start"] : case["visual_start"] + case["visual"]]
    torch.testing.assert_close(value_similarity(values[:, case["query_indices"]], visual), case["similarity"])


@pytest.mark.parametrize("count", [2, 12, 30])
def test_positions_come_first_then_similar_values(count: int) -> None:
    prompt = random_prompt(40)
    cosine, sine = (table[prompt.visual].mean(1) for table in prompt.rotary())
    fixed = set(cosine.topk(4).indices.tolist()) | set(sine.topk(4).indices.tolist())
    values = prompt.values()
    to_question = value_similarity(values[:, prompt.question], values[:, prompt.visual])
    seed = values[:, prompt.visual[to_question.mean(0).argmax()]][:, None]
    scores = torch.cat([to_question, value_similarity(seed, values[:, prompt.visual])]).mean(0).tolist()
    order = sorted(range(40), key=lambda token: (token not in fixed, -scores[token]))
    assert IVCPrune().choose(prompt, count).tolist() == order[:count]


def test_positions_are_those_with_the_largest_mean() -> None:
    cosine, sine = torch.tensor([[0.0], [2.0], [1.0], [1.0]]), torch.tensor([[3.0], [0.0], [0.0], [0.0]])
    assert telling_positions(cosine, sine, 0.25).tolist() == [True, True, False, False]
    assert telling_positions(cosine, sine, 0.0).tolist() == [False] * 4


@pytest.mark.parametrize("option", ["position_share", "seed_share"])
def test_shares_outside_0_to_1_are_refused(option: str) -> None:
    with pytest.raises(PlanError, match=option):
        make_selector("ivcprune", {option: 1.5})
