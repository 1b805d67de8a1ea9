"""A prompt whose numbers are not finite is refused, whatever is read of it."""

import pytest
import torch

from halfv_core.errors import DataError
from probe.capture.prompt_run import PromptRun
from tests.tiny import tiny_model, tiny_prompt


@torch.no_grad()
def test_hidden_states_that_are_not_finite() -> None:
    model = tiny_model("llava")
    model.model.language_model.layers[2].mlp.down_proj.weight[0, 0] = torch.inf
    for read in ("states", "normed"):
        with pytest.raises(DataError, match="hidden states are not finite"):
            getattr(PromptRun(model, tiny_prompt("llava")), read)


@torch.no_grad()
def test_attention_that_is_not_finite() -> None:
    model = tiny_model("llava")
    model.model.language_model.layers[4].self_attn.k_proj.weight.fill_(torch.nan)
    run = PromptRun(model, tiny_prompt("llava"))
    with pytest.raises(DataError, match="queries, keys or values are not finite"):
        run.at_every_layer(lambda _, prompt: prompt.attention(prompt.question[-1:], at="own"))
    assert len(run.at_every_layer(lambda layer, _: layer)) == 5  # who does not look does not mind
