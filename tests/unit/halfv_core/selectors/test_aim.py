"""The selector `aim` against the paper's own function."""

from typing import Any

import pytest
import torch

from halfv_core.errors import PlanError
from halfv_core.selectors.aim import AIM, page_rank
from tests.peers import peer_cases
from tests.prompts import random_prompt


@pytest.mark.parametrize("case", peer_cases("aim"))
def test_the_importance_of_the_papers_code(case: dict[str, Any]) -> None:
    torch.testing.assert_close(page_rank(case["causal_logits"][0]), case["importance"][0])


def test_the_graph_is_the_whole_prompt() -> None:
    prompt = random_prompt(20)
    rank = page_rank(prompt.attention_logits(torch.arange(27)), 0.5, 2)
    assert rank.shape == (27,)
    assert AIM(temperature=0.5, steps=2).choose(prompt, 6).tolist() == rank[prompt.visual].topk(6).indices.tolist()


def test_one_step_is_the_mean_attention_that_a_token_gets() -> None:
    logits = torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(page_rank(logits, 1.0, 1), logits[0].softmax(-1).mean(0))


def test_wrong_options_are_refused() -> None:
    with pytest.raises(PlanError, match="temperature"):
        AIM(temperature=0.0)
    with pytest.raises(PlanError, match="steps"):
        AIM(steps=0)
