"""The logit lens against the model's own next-token distribution, and against a head by hand."""

from typing import Any

import pytest
import torch

from halfv_core.errors import DataError
from halfv_core.families import parts_of
from probe.analyzers import logit_lens
from probe.analyzers.logit_lens import Likeliest, first_answer_token, lens, likeliest, word_lists
from probe.capture.prompt_run import PromptRun
from tests.quantised import Buffers
from tests.tiny import TINY, VOCAB, tiny_model, tiny_prompt


def whole(run: PromptRun, states: torch.Tensor) -> torch.Tensor:
    return torch.cat(list(lens(run.parts, states)))


@pytest.mark.parametrize("family", sorted(TINY))
def test_the_last_state_is_normed_exactly_once(family: str) -> None:
    """It gives the model's own distribution; a second norm, or the state before it, gives another one."""
    model, prompt = tiny_model(family), tiny_prompt(family)
    torch.nn.init.uniform_(parts_of(model).norm.weight, 0.5, 2.0)  # with equal weights a second norm changes nothing
    with torch.no_grad():
        own = model(**prompt).logits[0, -1].log_softmax(-1)
    run = PromptRun(model, prompt)
    torch.testing.assert_close(whole(run, run.states[-1, -1:])[0], own, atol=1e-5, rtol=1e-4)
    for wrong in (run.normed[-1, -1:], run.states[-2, -1:]):
        assert (whole(run, wrong)[0] - own).abs().max() > 1e-2


def test_16_bits_are_widened() -> None:
    """A model of bfloat16 numbers gives what the same numbers give in float32."""
    model = tiny_model("qwen2_vl").bfloat16()
    states = torch.randn(6, 32, generator=torch.Generator().manual_seed(1)).bfloat16()
    found = torch.cat(list(lens(parts_of(model), states)))
    model.float()
    torch.testing.assert_close(found, torch.cat(list(lens(parts_of(model), states.float()))), atol=1e-6, rtol=1e-6)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    run = PromptRun(tiny_model("llava"), tiny_prompt("llava"))
    states = run.states.flatten(0, 1)
    expected = whole(run, states)
    monkeypatch.setattr(logit_lens, "_ROWS", 7)
    blocks = list(lens(run.parts, states))
    assert [len(block) for block in blocks[:-1]] == [7] * (len(blocks) - 1)
    torch.testing.assert_close(torch.cat(blocks), expected)


def test_a_head_that_is_no_matrix_is_called() -> None:
    model = tiny_model("llava")
    head: Any = model.lm_head
    model.lm_head = Buffers(head)
    run = PromptRun(model, tiny_prompt("llava"))
    with torch.no_grad():
        expected = model.lm_head(run.parts.norm(run.states[:, -1])).log_softmax(-1)
    torch.testing.assert_close(whole(run, run.states[:, -1]), expected)


def test_the_likeliest_words_come_first() -> None:
    shares = torch.tensor([[0.1, 0.6, 0.3], [0.2, 0.3, 0.5]])
    found = likeliest([shares[:1].log(), shares[1:].log()], 2)
    assert found.ids.tolist() == [[1, 2], [2, 1]]
    torch.testing.assert_close(found.probabilities, torch.tensor([[0.6, 0.3], [0.5, 0.3]]))
    run = PromptRun(tiny_model("llava"), tiny_prompt("llava"), words=lambda ids: ["abc"[token] for token in ids])
    assert word_lists(run, found) == [[("b", 0.6), ("c", 0.3)], [("c", 0.5), ("b", 0.3)]]
    third = Likeliest(torch.tensor([[0]]), torch.tensor([[1 / 3]]))
    assert word_lists(run, third) == [[("a", 0.3333)]]


def test_without_an_answer_the_likeliest_token_is_followed() -> None:
    model, prompt = tiny_model("llava"), tiny_prompt("llava")
    with torch.no_grad():
        likeliest_token = int(model(**prompt).logits[0, -1].argmax())
    assert first_answer_token(PromptRun(model, prompt)) == likeliest_token
    assert first_answer_token(PromptRun(model, prompt, answer=[VOCAB - 9, 3])) == VOCAB - 9


def test_logits_that_are_not_finite_are_refused() -> None:
    run = PromptRun(tiny_model("llava"), tiny_prompt("llava"))
    with pytest.raises(DataError, match="logits are not finite; load the model in bfloat16 or float32"):
        list(lens(run.parts, torch.full((1, 32), torch.nan)))
