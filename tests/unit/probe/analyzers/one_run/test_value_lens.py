"""What heads would write, against the model's own projections, a head at a time."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from halfv_core.families import parts_of
from probe.analyzers.findings import HeadWords
from probe.analyzers.one_run.value_lens import ValueLens, written_by_heads
from probe.capture.prompt_run import PromptRun
from tests.offloading import OFFLOADED
from tests.quantised import KINDS
from tests.tiny import LAYERS, TINY, tiny_model, tiny_prompt


def last_values(run: PromptRun) -> list[torch.Tensor]:
    """(H_kv, d) of each layer: the last prompt token's, from hooks on the model's own run."""
    found: list[torch.Tensor] = []
    hooks = [
        layer.self_attn.v_proj.register_forward_hook(lambda module, args, output: found.append(output[0, -1]))
        for layer in run.parts.layers
    ]
    with torch.no_grad():
        run.model(**run.inputs)
    for hook in hooks:
        hook.remove()
    return [values.view(-1, run.parts.layers[0].self_attn.head_dim) for values in found]


def by_head(run: PromptRun) -> torch.Tensor:
    """(L, H, vocabulary) probabilities, one head after another."""
    rows = []
    for layer, values in zip(run.parts.layers, last_values(run), strict=True):
        weight: torch.Tensor = layer.self_attn.o_proj.weight  # (D, H d)
        width = values.shape[1]
        for head in range(weight.shape[1] // width):
            value = values[head // layer.self_attn.num_key_value_groups]
            written = weight[:, head * width : (head + 1) * width] @ value
            if run.model.config.model_type == "gemma3":
                written = written * (1 + layer.post_attention_layernorm.weight)
            rows.append(run.parts.head(run.parts.norm(written)).softmax(-1))
    return torch.stack(rows).view(LAYERS, -1, rows[0].shape[0]).detach()


def measured(run: PromptRun, *, example: bool = True) -> Any:
    probe = ValueLens()
    looked = run.at_every_layer(lambda layer, view: probe.look(layer, view, run))
    return probe.measure(run, looked, example=example)


@pytest.mark.parametrize("family", ["gemma3", "llava", "qwen2_5_vl", "qwen3_vl"])
def test_probabilities_ranks_and_words_are_those_of_each_head(family: str) -> None:
    """With heads that share values, with a value for each, and with a norm after the attention."""
    run = PromptRun(tiny_model(family), tiny_prompt(family), answer=[7, 8])
    item, expected = measured(run), by_head(run)
    np.testing.assert_allclose(item["probability"], expected[..., 7].numpy(), rtol=2e-3, atol=1e-6)
    ranks = 1 + (expected > expected[..., 7:8]).sum(-1)
    np.testing.assert_allclose(item["log_rank"], ranks.double().log10().numpy(), atol=1e-3)
    probability, log_rank, words = ValueLens().combine({"a": item})
    assert isinstance(words, HeadWords)
    assert [[pairs[0][0] for pairs in row] for row in words.rows] == [
        [str(token) for token in row] for row in expected.argmax(-1).tolist()
    ]
    assert "words" not in measured(run, example=False)


def test_the_token_is_the_last_of_the_prompt_whatever_is_answered() -> None:
    model, prompt = tiny_model("llava"), tiny_prompt("llava")
    items = [measured(PromptRun(model, prompt, answer=answer)) for answer in ([7], [7, 9, 11, 13])]
    assert items[0] == items[1]


@pytest.mark.parametrize("family", sorted(TINY))
def test_what_all_heads_write_together_is_the_layers_attention_output(family: str) -> None:
    """Up to the projection's bias, and to the norm after it, which does not add up."""
    layer: Any = parts_of(tiny_model(family)).layers[2]
    values = torch.randn(4, layer.self_attn.head_dim, generator=torch.Generator().manual_seed(3))
    written = written_by_heads(layer, values, torch.float32)
    with torch.no_grad():
        whole = layer.self_attn.o_proj(values.flatten())
        if family == "gemma3":
            by_hand = torch.stack([layer.self_attn.o_proj(torch.block_diag(*values.split(1))[h]) for h in range(4)])
            torch.testing.assert_close(written, layer.post_attention_layernorm(by_hand))
            return
    torch.testing.assert_close(written.sum(0), whole, atol=1e-5, rtol=1e-4)


def biased(linear: nn.Linear) -> nn.Linear:
    linear.bias = nn.Parameter(torch.ones(linear.out_features))
    return linear


@pytest.mark.parametrize("make", [biased, *KINDS.values()], ids=["bias", *KINDS])
def test_projections_of_all_kinds_are_taken_as_they_compute(make: Callable[[nn.Linear], nn.Module]) -> None:
    """A bias is left out, also where the projection is no plain matrix."""
    layer: Any = parts_of(tiny_model("llava")).layers[1]
    layer.self_attn.o_proj = project = make(biased(layer.self_attn.o_proj))
    values = torch.randn(4, layer.self_attn.head_dim, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        written = written_by_heads(layer, values, torch.float32)
        nothing = torch.zeros(1, values.numel())
        for head in range(4):
            alone = torch.zeros_like(values)
            alone[head] = values[head]
            expected = project(alone.view(1, -1)) - project(nothing)
            torch.testing.assert_close(written[head], expected[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("how", ["everything", "whole layers at a time"])
def test_weights_that_are_elsewhere_are_brought(how: str, tmp_path: Any) -> None:
    prompt = tiny_prompt("gemma3")
    expected = measured(PromptRun(tiny_model("gemma3"), prompt, answer=[7]))
    found = measured(PromptRun(OFFLOADED[how](tiny_model("gemma3"), tmp_path), prompt, answer=[7]))
    assert found == expected
