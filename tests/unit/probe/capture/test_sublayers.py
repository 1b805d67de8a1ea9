"""What sub-layers get and return, as they are noted, adds up to what the layers do."""

from typing import Any

import pytest
import torch

from halfv_core.families import FAMILIES, parts_of
from halfv_core.runtime.patching import wrapped
from probe.capture.prompt_run import PromptRun
from probe.capture.sublayers import sublayer_wraps
from tests.tiny import LAYERS, tiny_model, tiny_prompt

FAMILY = pytest.mark.parametrize("family", sorted(FAMILIES))


@FAMILY
@torch.no_grad()
def test_what_sublayers_add_is_what_changes_the_stream(family: str) -> None:
    """Attention begins with the layer's input, the MLP where attention has left off; together they make its output."""
    model, inputs = tiny_model(family), tiny_prompt(family)
    run = PromptRun(model, inputs)
    parts, noted = parts_of(model), []
    with wrapped(sublayer_wraps(parts, lambda *seen: noted.append(seen)), plan=False):
        model(**inputs)
    assert [(layer, sublayer) for layer, sublayer, *_ in noted] == [
        (at, part) for at in range(LAYERS) for part in (0, 1)
    ]
    norms = ("input_layernorm", "pre_feedforward_layernorm" if "gemma" in family else "post_attention_layernorm")
    stream = run.states[0]
    for layer, sublayer, x, b, f in noted:
        torch.testing.assert_close(x[0], run.states[layer] if sublayer == 0 else stream)
        torch.testing.assert_close(b, getattr(parts.layers[layer], norms[sublayer])(x))
        stream = x[0] + f[0]
        if sublayer == 1:
            tokens = ~run.visual if family == "qwen3_vl" else torch.ones_like(run.visual)  # it adds features between
            torch.testing.assert_close(stream[tokens], run.states[layer + 1][tokens])


def test_lengths_and_angles_are_those_of_the_noted_states() -> None:
    model, inputs = tiny_model("gemma3"), tiny_prompt("gemma3", images=2)
    run, noted = PromptRun(model, inputs), {}

    def note(layer: int, sublayer: int, *states: torch.Tensor) -> None:
        noted[layer, sublayer] = [state[0].double() for state in states]

    with torch.no_grad(), wrapped(sublayer_wraps(run.parts, note), plan=False):
        model(**inputs)
    for (layer, sublayer), (x, b, f) in noted.items():
        cosine = (b * f).sum(-1) / b.norm(dim=-1) / f.norm(dim=-1)
        wanted = x.norm(dim=-1), b.norm(dim=-1), f.norm(dim=-1), cosine
        for got, exact in zip(run.sublayers, wanted, strict=True):
            torch.testing.assert_close(got[layer, sublayer].double(), exact, rtol=1e-5, atol=1e-6)


def test_looking_at_queries_does_not_change_what_is_noted() -> None:
    """Who looks calls the norm before attention as well."""
    model, inputs = tiny_model("qwen2_5_vl"), tiny_prompt("qwen2_5_vl")
    alone, looking = PromptRun(model, inputs), PromptRun(model, inputs)
    looking.at_every_layer(lambda _, prompt: prompt.queries(prompt.text[:2], at="own"), recording=["sublayers"])
    for got, wanted in zip(looking.sublayers, alone.sublayers, strict=True):
        assert torch.equal(got, wanted)


def test_recording_in_a_shared_run_takes_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    run, calls = PromptRun(model, inputs), []
    forward = model.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return forward(*args, **kwargs)

    monkeypatch.setattr(model, "forward", counted)
    run.at_every_layer(lambda *_: None, recording=["grids", "sublayers"])
    assert run.grids is not None and len(run.sublayers.cosine) == LAYERS
    assert len(calls) == 1
