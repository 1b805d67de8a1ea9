"""Maps of examples, against the attention that the eager kernel gives out."""

import numpy as np
import pytest
import torch

from probe.analyzers.one_run.attention_maps import AttentionMaps
from probe.capture.prompt_run import PromptRun
from tests.tiny import TINY, tiny_model, tiny_prompt


@pytest.mark.parametrize("family", sorted(TINY))
def test_a_map_is_the_mean_over_heads(family: str) -> None:
    model, prompt = tiny_model(family, kernel="eager"), tiny_prompt(family, images=2)
    with torch.no_grad():
        attentions = model(**prompt, output_attentions=True).attentions
    run, probe = PromptRun(model, prompt), AttentionMaps()
    looked = run.at_every_layer(lambda layer, view: probe.look(layer, view, run))
    [found] = probe.combine({"other": None, "a": probe.measure(run, looked, example=True)})
    expected = torch.stack([weights[0, :, -1, run.visual].mean(0) for weights in attentions])
    np.testing.assert_allclose(found.values, expected.numpy(), rtol=2e-3, atol=1e-5)
    assert found.example == "a" and found.axis == "layers"


def test_other_samples_have_none() -> None:
    run, probe = PromptRun(tiny_model("llava"), tiny_prompt("llava")), AttentionMaps()
    looked = run.at_every_layer(lambda layer, view: probe.look(layer, view, run))
    item = probe.measure(run, looked, example=False)
    assert item is None
    assert probe.combine({"a": item}) == []
