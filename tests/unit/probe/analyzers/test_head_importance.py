"""Heads that are switched off, against a model whose weights are changed."""

import pytest
import torch

from halfv_core.families import parts_of
from probe.analyzers.head_importance import head_importance
from probe.trials.answers import greedy_answer, read_answer
from tests.tiny import tiny_model, tiny_prompt


@pytest.mark.parametrize("family", ["gemma3", "llava", "qwen2_5_vl", "qwen3_vl"])
@torch.no_grad()
def test_a_head_that_is_off_has_no_part_in_the_output_projection(family: str) -> None:
    model, inputs = tiny_model(family), tiny_prompt(family)
    answer = greedy_answer(model, inputs, 3)
    whole = read_answer(model, inputs, answer).log_likelihood
    found = head_importance(model, inputs, answer)
    attention = parts_of(model).layers[0].self_attn
    weight, width = attention.o_proj.weight, attention.head_dim
    assert len(found) == weight.shape[1] // width
    assert read_answer(model, inputs, answer).log_likelihood == whole
    for head, importance in enumerate(found):
        before = weight.clone()
        weight[:, head * width : (head + 1) * width] = 0.0
        assert importance == pytest.approx(whole - read_answer(model, inputs, answer).log_likelihood, abs=1e-5)
        weight.copy_(before)
    assert len({round(importance, 4) for importance in found}) > 1
