"""The selector `priortr` against the paper's own functions."""

from typing import Any, get_args

import pytest
import torch

from halfv_core.errors import PlanError
from halfv_core.selectors.attended import Heads
from halfv_core.selectors.priortr import Mode, PriorTR, priortr
from tests.peers import peer_cases
from tests.prompts import random_prompt


@pytest.mark.parametrize("heads", ["mean", "max"])
@pytest.mark.parametrize("variant", ["llava_last", "qwen_last", "llava_question", "qwen_question"])
@pytest.mark.parametrize("case", peer_cases("priortr"))
def test_the_scores_of_the_papers_code(case: dict[str, Any], variant: str, heads: Heads) -> None:
    end = case["visual_end"]
    attention = case["attention"][0, :, end:, case["visual_start"] : end]
    rows = {"llava_last": attention[:, -1:], "llava_question": attention, "qwen_question": attention[:, :-1]}
    prompted = rows.get(variant, attention[:, -1:])
    torch.testing.assert_close(priortr(prompted, attention[:, :1], heads), case[f"{variant}_{heads}"])


@pytest.mark.parametrize("prior", [0, 2])
def test_the_rows_are_those_of_the_mode(prior: int) -> None:
    prompt = random_prompt(20, question=5)
    attention = prompt.attention(prompt.question)[..., prompt.visual]
    null = attention[:, prior : prior + 1]
    rows: dict[Mode, slice] = {"last": slice(4, 5), "question": slice(5), "question_but_last": slice(4)}
    for mode, part in rows.items():
        chosen = PriorTR(mode=mode, prior_token=prior).choose(prompt, 6)
        assert chosen.tolist() == priortr(attention[:, part], null).topk(6).indices.tolist()


def test_attention_like_the_prior_scores_nothing() -> None:
    attention = torch.rand(4, 1, 9, generator=torch.Generator().manual_seed(0))
    assert priortr(0.3 * attention, attention).abs().max() < 1e-6


def test_no_attention_at_all_is_no_score() -> None:
    assert priortr(torch.zeros(2, 1, 5), torch.zeros(2, 1, 5)).tolist() == [0.0] * 5


def test_a_question_of_one_token_or_none() -> None:
    for question in (0, 1):
        for mode in get_args(Mode):
            assert len(PriorTR(mode=mode).choose(random_prompt(8, question=question), 3)) == 3


def test_a_negative_prior_token_is_refused() -> None:
    with pytest.raises(PlanError, match="prior_token"):
        PriorTR(prior_token=-1)
