"""What layers themselves make before attention: equal to the projections of known decoders, and the model's own."""

from functools import partial
from typing import Any

import pytest
import torch

from halfv_core.errors import UnsupportedError
from halfv_core.families import FAMILIES, parts_of
from halfv_core.families.description import PLAIN_DECODERS
from halfv_core.runtime.attention import keys_and_values, project, rotate
from halfv_core.runtime.own_run import cached_of, heads_of
from halfv_core.runtime.patching import wrapped
from probe.capture.attention import attention_of_last
from probe.capture.layer_calls import LayerCalls
from probe.capture.sublayers import sublayer_wraps
from tests.any_model import any_model, any_prompt
from tests.tiny import tiny_model, tiny_prompt
from tests.tiny_classes import CLASSES

KNOWN = [
    *(pytest.param(partial(tiny_model, name), tiny_prompt(name), id=name) for name in sorted(FAMILIES)),
    *(
        pytest.param(partial(any_model, name), any_prompt(name), id=name)
        for name in sorted(CLASSES)
        if name in ("aria", "cosmos3_edge", "deepseek_ocr2", "lighton_ocr", "paddleocr_vl", "qwen2_5_omni_thinker",
                    "qwen3_omni_moe_thinker", "qwen3_vl_moe", "idefics2")
    ),
]  # fmt: skip
"""A model with each of the known decoders."""
SCORED = [
    "cohere2_vision", "ernie4_5_vl_moe", "exaone4_5", "fuyu", "gemma4", "glm4v", "kimi_k25", "lfm2_vl", "molmo2",
    "muse_glimmer", "qwen3_5",
]  # fmt: skip
"""Classes with partial rotary, none in some layers, norms in other places, latents, fused projections and states."""


@pytest.mark.parametrize(("build", "inputs"), KNOWN)
def test_known_decoders_are_plain(build: Any, inputs: dict[str, Any]) -> None:
    """Keys, values and queries bit by bit, and each layer adds to its input what attention and MLP return."""
    model = build()
    parts, calls = parts_of(model), LayerCalls.record(model, inputs)
    added: dict[tuple[int, int], torch.Tensor] = {}
    with (
        torch.no_grad(),
        wrapped(sublayer_wraps(parts, lambda *noted: added.update({noted[:2]: noted[4]})), plan=False),
    ):
        model(**inputs, use_cache=False)
    assert parts.is_plain
    for index, layer in enumerate(parts.layers):
        hidden, arguments = calls.states[index], calls.arguments[index]
        with torch.no_grad():
            heads = heads_of(parts, layer, hidden, arguments)
            keys, values = keys_and_values(parts, layer, hidden, arguments["position_embeddings"])
            queries = project(layer.self_attn, "q", layer.input_layernorm(hidden))
            queries = rotate(parts, queries, arguments["position_embeddings"])
            cached = cached_of(layer, hidden, arguments)
        assert torch.equal(keys, cached[0]) and torch.equal(values, cached[1])
        assert torch.equal(queries, heads.queries) and torch.equal(keys, heads.keys)
        assert heads.scaling == layer.self_attn.scaling
        after = hidden + added[index, 0] + added[index, 1]
        if index < len(calls.features):
            after = after + calls.features[index]
        torch.testing.assert_close(calls.states[index + 1], after, atol=1e-5, rtol=1e-5)


def test_every_known_decoder_is_in_the_test_before() -> None:
    models = [case.values[0]() for case in KNOWN]
    found = {model.config.get_text_config().model_type for model in models}
    others = {decoder for family in FAMILIES.values() for decoder in family.decoders}
    assert PLAIN_DECODERS == found | others


@pytest.mark.parametrize("name", SCORED)
def test_scores_are_the_attention_of_the_model(name: str) -> None:
    """With the weights of the eager kernel, which the model returns."""
    model, inputs = any_model(name), any_prompt(name, images=2)
    parts = parts_of(model)
    layers = [layer for layer in range(len(parts.layers)) if layer not in parts.recurrent]
    found = attention_of_last(model, inputs, layers)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        weights = [each for each in model(**inputs, output_attentions=True).attentions if each is not None]
    visual = torch.isin(inputs["input_ids"][0], torch.tensor(parts.visual_ids))
    for layer, own in zip(layers, weights, strict=True):
        torch.testing.assert_close(found[layer], own[0, :, -1].mean(0)[visual], atol=1e-5, rtol=1e-5)


def test_a_layer_without_attention_says_so() -> None:
    model, inputs = any_model("lfm2_vl"), any_prompt("lfm2_vl")
    with pytest.raises(UnsupportedError, match="this Lfm2DecoderLayer has no attention"):
        attention_of_last(model, inputs, [0])
