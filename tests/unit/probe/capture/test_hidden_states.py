"""Captured hidden states equal the ones that transformers itself returns."""

import pytest
import torch

from halfv_core import Keep, Plan, apply
from halfv_core.errors import DataError
from halfv_core.families import FAMILIES, parts_of
from probe.capture.hidden_states import capture
from tests.masked_reference import layer_calls
from tests.tiny import IMAGE, LAYERS, padded, tiny_model, tiny_prompt

FAMILY = pytest.mark.parametrize("family", sorted(FAMILIES))


@FAMILY
@pytest.mark.parametrize("kernel", ["eager", "sdpa"])
@torch.no_grad()
def test_capture_equals_output_hidden_states(family: str, kernel: str) -> None:
    model, inputs = tiny_model(family, kernel=kernel), tiny_prompt(family, images=2)
    expected = list(model(**inputs, output_hidden_states=True, use_cache=False).hidden_states)
    for index, features in enumerate(layer_calls(model, inputs).features, start=1):
        expected[index] = expected[index] + features  # transformers returns the previous layer's output
    raw, normed = capture(model, inputs, normed=False), capture(model, inputs)
    norm = parts_of(model).norm
    assert raw.hidden.shape == (LAYERS + 1, inputs["input_ids"].shape[1], 32)
    for index in range(LAYERS):
        assert torch.equal(raw.hidden[index], expected[index][0])
        assert torch.equal(normed.hidden[index], norm(expected[index][0]))
    assert torch.equal(normed.hidden[LAYERS], expected[LAYERS][0])
    logits = model(**inputs).logits[0, -1]
    torch.testing.assert_close(parts_of(model).head(normed.hidden[LAYERS, -1]), logits)


@FAMILY
def test_visual_positions_come_from_the_token_ids(family: str) -> None:
    inputs = tiny_prompt(family, images=3, between=(5, 1), before=0)
    assert torch.equal(capture(tiny_model(family), inputs).visual, inputs["input_ids"][0] == IMAGE)


@FAMILY
def test_padding_is_left_out(family: str) -> None:
    model, inputs = tiny_model(family), tiny_prompt(family)
    plain, shifted = capture(model, inputs), capture(model, padded(inputs, 3))
    torch.testing.assert_close(shifted.hidden, plain.hidden, atol=1e-5, rtol=1e-5)
    assert torch.equal(shifted.visual, plain.visual)


def test_a_batch_is_refused() -> None:
    inputs = {name: value.repeat(2, 1) for name, value in tiny_prompt("llava", images=0).items()}
    with pytest.raises(DataError, match="one prompt at a time; got a batch of 2"):
        capture(tiny_model("llava"), inputs)


@FAMILY
def test_a_model_that_was_captured_can_be_accelerated_and_back(family: str) -> None:
    model, inputs = tiny_model(family), tiny_prompt(family)
    plan = Plan((Keep(layer=2, keep_ratio=0.5),))
    with torch.no_grad(), apply(model, plan):
        before = model(**inputs).logits
    first = capture(model, inputs)
    with torch.no_grad(), apply(model, plan):
        assert torch.equal(model(**inputs).logits, before)
    assert torch.equal(capture(model, inputs).hidden, first.hidden)
