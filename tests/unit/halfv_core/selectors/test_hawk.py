"""The selector `hawk` against the paper's own functions."""

from typing import Any, get_args

import pytest
import torch

from halfv_core.errors import PlanError
from halfv_core.selectors.attended import best
from halfv_core.selectors.hawk import Hawk, Norm, hawk, relevance
from tests.peers import peer_cases
from tests.prompts import random_prompt


@pytest.mark.parametrize("norm", get_args(Norm))
@pytest.mark.parametrize("case", peer_cases("hawk"))
def test_the_scores_and_tokens_of_the_papers_code(case: dict[str, Any], norm: Norm) -> None:
    scores = hawk(relevance(case["queries"][0], case["keys"][0]), case["head_weights"], norm)
    torch.testing.assert_close(scores, case[f"score_{norm}"])
    kept = case[f"kept_{norm}"]
    assert case["visual_indices"][best(scores, len(kept)).sort().values].tolist() == kept.tolist()


def test_queries_and_keys_carry_no_positions_and_heads_share_keys() -> None:
    prompt = random_prompt(20)
    queries = prompt.queries(prompt.question, "own", rope=False)
    keys = prompt.keys("own", rope=False)[:, prompt.visual].repeat_interleave(2, 0)
    products = torch.einsum("hqd,hvd->hqv", queries, keys).mean(1)
    weights = torch.tensor([0.5, 0.0, 2.0, 0.25])
    scores = (weights[:, None] * products / products.norm(dim=1, keepdim=True)).sum(0)
    assert Hawk("0.5, 0, 2,0.25").choose(prompt, 6).tolist() == scores.topk(6).indices.tolist()
    assert Hawk().choose(prompt, 6).tolist() == Hawk("1,1,1,1").choose(prompt, 6).tolist()


@pytest.mark.parametrize("weights", ["a,b", "1,,2", "nan", "1,inf"])
def test_weights_that_are_not_numbers_are_refused(weights: str) -> None:
    with pytest.raises(PlanError, match="head_weights"):
        Hawk(weights)


def test_a_weight_for_each_head() -> None:
    with pytest.raises(PlanError, match="3 numbers; expected 4"):
        Hawk("1,2,3").choose(random_prompt(9), 2)
