"""What every selector of one prompt promises, whatever its rule: that many distinct tokens, the same each time."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from halfv_core.selectors import SELECTORS, PromptSelector, make_selector
from halfv_core.selectors.prompt import Prompt
from tests.prompts import random_prompt

NAMES = [name for name, kind in sorted(SELECTORS.items()) if issubclass(kind, PromptSelector)]
NEEDED: dict[str, dict[str, str]] = {"cdpruner": {"relevance": "none"}}
"""Options without which a selector cannot run here."""


def test_the_stub_is_a_prompt() -> None:
    prompt: Prompt = random_prompt(5)
    assert prompt.attention(prompt.question).sum(-1).allclose(torch.ones(4, 4))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None)
@given(tokens=st.integers(2, 60), copies=st.booleans(), seed=st.integers(0, 9), data=st.data())
def test_that_many_distinct_tokens(name: str, tokens: int, copies: bool, seed: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, tokens - 1) | st.just(tokens - 1) | st.just(1))
    selector = make_selector(name, NEEDED.get(name, {}))
    assert isinstance(selector, PromptSelector)
    chosen = selector.choose(random_prompt(tokens, seed, copies=copies), count)
    assert chosen.dtype == torch.long and chosen.shape == (count,)
    assert len(set(chosen.tolist())) == count
    assert 0 <= int(chosen.min()) <= int(chosen.max()) < tokens
    assert torch.equal(chosen, selector.choose(random_prompt(tokens, seed, copies=copies), count))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("scale", [0.01, 3000.0])
def test_16_bit_states_are_ranked_as_the_same_numbers_in_32(name: str, dtype: torch.dtype, scale: float) -> None:
    """Their squares overflow in float16, and products must not be rounded to a dtype of autocast."""
    selector = make_selector(name, NEEDED.get(name, {}))
    assert isinstance(selector, PromptSelector)
    narrow, wide = (random_prompt(150, scale=scale, dtype=dtype) for _ in range(2))
    wide.widen()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        chosen = selector.choose(narrow, 70)
    assert torch.equal(chosen, selector.choose(wide, 70))
