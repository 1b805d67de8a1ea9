"""The selector `pyramiddrop` against the paper's own function, on a layer's own projections."""

from typing import Any

import pytest
import torch

from halfv_core.selectors.pyramiddrop import PyramidDrop
from tests.peers import peer_cases
from tests.prompts import StubPrompt, random_prompt


@pytest.mark.parametrize("case", peer_cases("pyramiddrop"))
def test_the_tokens_of_the_papers_code(case: dict[str, Any]) -> None:
    states, weights = case["features"][0], [case["Wq"], case["Wk"], case["Wv"]]
    prompt = StubPrompt(states, case["visual_start"], case["visual"], weights, case["heads"])
    chosen = PyramidDrop().choose(prompt, int(case["visual"] * case["ratios"][1] / case["ratios"][0]))
    kept = torch.cat([prompt.text, prompt.visual[chosen]]).sort().values
    assert torch.equal(states[kept], case["out"][0])


def test_the_layer_is_the_keeps_own_or_the_one_before() -> None:
    prompt = random_prompt(30)
    own = prompt.attention(prompt.question[-1:], "own")[:, 0].mean(0)[prompt.visual]
    before = prompt.attention(prompt.question[-1:], "previous")[:, 0].mean(0)[prompt.visual]
    assert PyramidDrop().choose(prompt, 7).tolist() == own.topk(7).indices.tolist()
    assert PyramidDrop(at="previous").choose(prompt, 7).tolist() == before.topk(7).indices.tolist()
    assert PyramidDrop().reads() == frozenset()
    assert PyramidDrop(at="previous").reads() == {"previous"}


def test_an_image_at_the_end_asks_for_itself() -> None:
    prompt = random_prompt(30, question=0)
    attention = prompt.attention(prompt.visual[-1:], "own")[:, 0].mean(0)[prompt.visual]
    assert PyramidDrop().choose(prompt, 3).tolist() == attention.topk(3).indices.tolist()
