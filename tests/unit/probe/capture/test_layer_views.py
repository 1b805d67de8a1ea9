"""The prompt at every layer: several who look at it share its keys and values."""

from collections import Counter
from typing import Any

import torch

from halfv_core.runtime.prompt_view import PromptView
from probe.capture.prompt_run import PromptRun
from tests.tiny import LAYERS, tiny_model, tiny_prompt


def test_keys_and_values_are_made_once_a_layer_for_all_who_look() -> None:
    run = PromptRun(tiny_model("qwen2_5_vl"), tiny_prompt("qwen2_5_vl"))
    calls: Counter[str] = Counter()
    for layer in run.parts.layers:
        for name in ("q_proj", "k_proj", "v_proj"):
            module: Any = getattr(layer.self_attn, name)
            module.register_forward_hook(lambda *_, name=name: calls.update([name]))

    def look(layer: int, prompt: PromptView) -> None:
        last = prompt.question[-1:]
        for _ in range(3):
            prompt.attention(last, at="own")
            prompt.values(at="own")

    run.at_every_layer(look)
    of_the_model = 1
    assert calls == {
        "q_proj": LAYERS * (of_the_model + 3),
        "k_proj": LAYERS * (of_the_model + 1),
        "v_proj": LAYERS * (of_the_model + 1),
    }


def test_what_is_shared_is_what_each_would_have_made() -> None:
    """Keys with and without rotation are told apart, and the rows of attention are the model's."""
    model, prompt = tiny_model("qwen2_5_vl", kernel="eager"), tiny_prompt("qwen2_5_vl")
    with torch.no_grad():
        weights = model(**prompt, output_attentions=True).attentions
    run = PromptRun(model, prompt)
    seen = run.at_every_layer(
        lambda layer, view: (
            view.keys(at="own", rope=False),
            view.attention(view.question[-1:], at="own")[:, 0],
            view.keys(at="own"),
            view.keys(at="own", rope=False),
            view.attention(view.visual, at="own"),
        )
    )
    for layer, (plain, last, rotated, again, of_visual) in enumerate(seen):
        assert torch.equal(plain, again) and not torch.allclose(plain, rotated)
        torch.testing.assert_close(last, weights[layer][0, :, -1], rtol=1e-3, atol=1e-5)
        torch.testing.assert_close(of_visual, weights[layer][0][:, run.visual], rtol=1e-3, atol=1e-5)
