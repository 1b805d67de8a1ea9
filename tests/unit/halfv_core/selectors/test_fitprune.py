"""The selector `fitprune` against the paper's own attention layer, and in pieces of few rows."""

from typing import Any

import pytest
import torch

from halfv_core.selectors import attended
from halfv_core.selectors.fitprune import FitPrune
from tests.peers import peer_cases
from tests.prompts import StubPrompt, random_prompt


@pytest.mark.parametrize("case", peer_cases("fitprune"))
def test_the_tokens_of_the_papers_code(case: dict[str, Any]) -> None:
    weights = [case["Wq"], case["Wk"], case["Wv"]]
    states, start, visual = case["normed_hidden"][0], case["visual_start"], case["visual"]
    prompt = StubPrompt(states, start, visual, weights, case["heads"], normed=True)
    kept = case["keep_mask"][start : start + visual].nonzero()[:, 0]
    assert FitPrune().choose(prompt, len(kept)).sort().values.tolist() == kept.tolist()


@pytest.mark.parametrize("at_once", [1, 7, 512])
def test_rows_may_be_read_piece_by_piece(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attended, "ROWS_AT_ONCE", at_once)
    prompt = random_prompt(40, question=9)
    attention = prompt.attention(torch.cat([prompt.visual, prompt.question])).amax(0)[:, prompt.visual]
    scores = attention[:40].sum(0) * attention[40:].sum(0)
    assert FitPrune().choose(prompt, 11).tolist() == scores.topk(11).indices.tolist()
