"""Attention scores against slow, obvious references."""

from typing import Any

import pytest
import torch

from halfv_core import Keep, Plan, apply
from halfv_core.families import FAMILIES, parts_of
from halfv_core.runtime.attention import attention_scores
from tests.masked_reference import layer_calls
from tests.tiny import IMAGE, tiny_model, tiny_prompt

FAMILY = pytest.mark.parametrize("family", sorted(FAMILIES))
KERNEL = pytest.mark.parametrize("kernel", ["eager", "sdpa"])


@FAMILY
@KERNEL
@torch.no_grad()
def test_attention_selector_reads_the_true_attention_map(family: str, kernel: str) -> None:
    """The model's own eager attention of layer l-1, last row, head mean, says which tokens stay at layer l."""
    inputs = tiny_prompt(family, images=2)
    eager = tiny_model(family, kernel="eager")
    attentions = eager(**inputs, output_attentions=True, use_cache=False).attentions
    visual = (inputs["input_ids"][0] == IMAGE).nonzero().squeeze(1)
    model = tiny_model(family, kernel=kernel)
    for layer in (1, 2, 4):
        scores = attentions[layer - 1][0, :, -1].mean(0)[visual]
        expected = visual[scores.topk(5).indices].sort().values
        with apply(model, Plan((Keep(layer=layer, keep_ratio=5 / 32, selector="attention"),))) as run:
            model(**inputs)
        assert run.kept[layer][0].tolist() == expected.tolist()


@FAMILY
@pytest.mark.parametrize("rope", [False, True])
@torch.no_grad()
def test_release_scoring_is_unscaled_and_over_visual_keys_only(family: str, rope: bool) -> None:
    model, inputs = tiny_model(family), tiny_prompt(family)
    parts = parts_of(model)
    visual = (inputs["input_ids"][0] == IMAGE).nonzero().squeeze(1)
    calls = layer_calls(model, inputs)
    hidden, (cos, sin) = calls.hidden[1], calls.arguments[1]["position_embeddings"]
    attention, normed = parts.layers[1].self_attn, parts.layers[1].input_layernorm(hidden)
    heads = model.config.get_text_config().num_attention_heads
    q_norm, k_norm = (getattr(attention, name, torch.nn.Identity()) for name in ("q_norm", "k_norm"))
    query = q_norm(attention.q_proj(normed).view(1, -1, heads, 8)).transpose(1, 2)
    keys = k_norm(attention.k_proj(normed).view(1, len(hidden[0]), -1, 8)).transpose(1, 2)
    if rope:
        query, keys = parts.rotary(query, keys, cos, sin)
    keys = keys.repeat_interleave(heads // keys.shape[1], dim=1)
    total = torch.zeros(len(visual))
    for head in range(heads):
        total += torch.softmax(keys[0, head, visual] @ query[0, head, -1], dim=0) / heads
    expected = visual[total.topk(4).indices].sort().values
    options = {"scoring": "release", "rope": rope}
    with apply(model, Plan((Keep(layer=2, keep_ratio=0.25, selector="attention", options=options),))) as run:
        model(**inputs)
    assert run.kept[2][0].tolist() == expected.tolist()


@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])  # without and with biases
@torch.no_grad()
def test_keys_need_not_be_made_to_score_them(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores without keys equal those with keys, which are still made if the projection is not a plain matrix."""
    model = tiny_model(family)
    inputs, found = tiny_prompt(family), []

    def scores(*arguments: Any) -> torch.Tensor:
        found.append(attention_scores(*arguments))
        return found[-1]

    monkeypatch.setattr("halfv_core.runtime.choosing.attention_scores", scores)
    plan = Plan((Keep(layer=2, keep_ratio=0.5, selector="attention", options={"rope": False}),))
    made: list[int] = []
    attention = parts_of(model).layers[1].self_attn
    for _ in range(2):
        with apply(model, plan):
            model(**inputs)
        attention.k_proj = torch.nn.Sequential(attention.k_proj)  # as an adapter would
        attention.k_proj.register_forward_hook(lambda *_: made.append(1))
    assert len(made) == 2  # the layer's own keys, and the selector's
    torch.testing.assert_close(found[0], found[1], rtol=1e-5, atol=1e-7)
