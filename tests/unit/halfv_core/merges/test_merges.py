"""What every merge promises, whatever its rule, for tokens that the selector of its name chose."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from halfv_core.merges import MERGES, make_merge
from halfv_core.selectors import PromptSelector, make_selector
from tests.prompts import random_prompt

SELECTOR = {"aim": "aim_merging"}


@pytest.mark.parametrize("name", sorted(MERGES))
@settings(max_examples=40, deadline=None)
@given(
    tokens=st.integers(2, 60),
    copies=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16]),
    data=st.data(),
)
def test_the_chosen_tokens_and_as_many_more_as_it_says(
    name: str, tokens: int, copies: bool, dtype: torch.dtype, data: st.DataObject
) -> None:
    count = data.draw(st.integers(1, tokens - 1))
    prompt = random_prompt(tokens, seed=count, copies=copies, dtype=dtype)
    selector, merge = make_selector(SELECTOR.get(name, name), {}), make_merge(name, {})
    assert isinstance(selector, PromptSelector)
    chosen = selector.choose(prompt, count)
    extra = merge.extra(tokens, count)
    assert 0 <= extra <= tokens - count
    merged = merge.merge(prompt, chosen, selector.anchors(count))
    assert torch.equal(merged.chosen[:count], chosen)
    assert len(set(merged.chosen.tolist())) == len(merged.chosen) == count + extra
    assert 0 <= int(merged.chosen.min()) <= int(merged.chosen.max()) < tokens
    assert merged.states.shape == (count + extra, 32)
    assert merged.states.dtype == dtype and merged.states.isfinite().all()
