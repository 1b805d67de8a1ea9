"""Effects on the next token against closed forms."""

import math

import pytest
import torch

from halfv_core.errors import DataError
from halfv_core.families import parts_of
from probe.analyzers.variants.effects import NextToken
from probe.analyzers.variants.groups import Groups
from probe.capture.prompt_run import PromptRun
from tests.tiny import VOCAB, tiny_model, tiny_prompt
from tests.unit.probe.analyzers.variants.prompts import prompt_of


def test_effects() -> None:
    """A head of 32 logits and zeros, which the states are themselves."""
    model = tiny_model("llava")
    parts = parts_of(model)
    parts.decoder.norm = torch.nn.Identity()
    with torch.no_grad():
        parts.head.weight.copy_(torch.eye(VOCAB, 32))
    parts = parts_of(model)
    full, moved, other = (torch.zeros(1, 32) for _ in range(3))
    full[0, 5], moved[0, 5], other[0, 6] = math.log(VOCAB - 1), math.log(3 * (VOCAB - 1)), math.log(VOCAB - 1)
    next_token = NextToken(parts, full)
    assert next_token.token == 5
    assert next_token.log_probability == pytest.approx(math.log(0.5))
    effects = next_token.effects(torch.stack([full, moved, other]))
    assert effects.same.tolist() == [True, True, False]
    small = 0.5 / (VOCAB - 1)
    assert effects.change.tolist() == pytest.approx([0.0, math.log(0.75 / 0.5), math.log(small / 0.5)], abs=1e-6)
    assert effects.log_odds.tolist() == pytest.approx([0.0, math.log(3), math.log(small / (1 - small))], abs=1e-6)
    expected = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert effects.divergence.tolist() == pytest.approx(
        [0.0, expected, (0.5 - small) * math.log(0.5 / small)], abs=1e-6
    )


@pytest.mark.parametrize("family", ["llava", "qwen3_vl"])
def test_groups(family: str) -> None:
    prompt = prompt_of(family)
    groups = Groups.of(prompt.run)
    assert torch.equal(groups.visual, prompt.visual)
    assert torch.equal(groups.after, prompt.after)
    assert torch.equal(groups.question, prompt.question)
    assert torch.equal(groups.last, prompt.last)


def test_a_prompt_without_an_image_is_refused() -> None:
    run = PromptRun(tiny_model("llava"), tiny_prompt("llava", images=0))
    with pytest.raises(DataError, match="variants are made of an image followed by text; got no visual token"):
        Groups.of(run)


def test_logits_that_are_not_finite_are_refused() -> None:
    prompt = prompt_of("llava")
    with pytest.raises(DataError, match="logits are not finite"):
        NextToken(prompt.run.parts, torch.full((1, 32), torch.nan))
