"""Selection in float16 and bfloat16: that of float32, or an error; never a ranking by NaN or by rounded-off ties."""

import copy
from collections.abc import Mapping
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedModel

from halfv_core import HalfVError, Keep, Plan, apply
from halfv_core.errors import UnsupportedError
from halfv_core.families import parts_of
from halfv_core.runtime.attention import attention_scores
from halfv_core.runtime.layer_input import LayerInput, LayerTables
from halfv_core.runtime.layout import TokenLayout
from halfv_core.runtime.token_slots import TokenSlots
from halfv_core.selectors.base import Scoring
from probe.capture.attention import attention_of_last
from tests.tiny import IMAGE, tiny_batch, tiny_model, tiny_prompt

HALF = pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
BIASED = {torch.float16: 256.0, torch.bfloat16: 40.0}
"""Biases at which products of queries and keys leave the range of float16, and the precision of bfloat16."""

Inputs = dict[str, torch.Tensor]


def of_dtype(inputs: Mapping[str, torch.Tensor], dtype: torch.dtype) -> Inputs:
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}


def kept(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], keep: Keep) -> list[int]:
    with torch.inference_mode(), apply(model, Plan((keep,))) as run:
        model(**inputs)
    return run.kept[keep.layer][0].tolist()  # type: ignore[no-any-return]


@cache
def untouched(family: str) -> PreTrainedModel:
    return tiny_model(family)


def biased(family: str, bias: float, dtype: torch.dtype) -> PreTrainedModel:
    """Queries and keys with one large bias in each head, where no weight adds to it and no rotation turns it."""
    model = copy.deepcopy(untouched(family))
    for layer in parts_of(model).layers:
        for project in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            project.weight.data[3::8], project.bias.data[3::8] = 0.0, bias
            project.weight.data[7::8] = 0.0
    inverse = parts_of(model).decoder.rotary_emb.inv_freq
    inverse[3] = 0.0  # dimensions 3 and 7 turn by this frequency
    return model.to(dtype)


@HALF
@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl"])
@pytest.mark.parametrize(
    "keep",
    [
        Keep(layer=2, keep_ratio=0.25, selector="attention"),
        Keep(layer=3, keep_ratio=0.25, selector="attention", options={"rope": False}),
        Keep(layer=2, keep_ratio=0.5, options={"anchor_share": 0.5}),
        Keep(layer=2, keep_ratio=0.5, options={"anchor_share": 0.5, "rope": True}),
    ],
    ids=str,
)
def test_large_biases_do_not_change_what_is_kept(family: str, dtype: torch.dtype, keep: Keep) -> None:
    """Sdpa answers alike in 16 and in 32 bits, so the same tokens are kept, but for one that is nearly tied."""
    low = biased(family, BIASED[dtype], dtype)
    high, inputs = copy.deepcopy(low).float(), of_dtype(tiny_prompt(family), dtype)
    wide = of_dtype(inputs, torch.float32)
    with torch.inference_mode():
        gap = (low(**inputs).logits.float() - high(**wide).logits).abs().max()
    assert gap < 0.1
    in_16, in_32 = kept(low, inputs, keep), kept(high, wide, keep)
    assert len({*in_16} & {*in_32}) >= len(in_32) - 1


TOKENS = 12
"""Tokens in the property tests."""


def layer_input(dtype: torch.dtype, seed: int, copies: bool) -> LayerInput:
    """Random states of 12 tokens, of which 2 to 9 are visual, perhaps two of them alike, at random angles."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(1, TOKENS, 32, generator=generator)
    if copies:
        hidden[:, 7] = hidden[:, 4]
    angles = torch.rand(1, TOKENS, 4, generator=generator).mul(6.28).repeat(1, 1, 2)
    visual = torch.zeros(1, TOKENS, dtype=torch.bool)
    visual[:, 2:10] = True
    slots = TokenSlots.all_of(TokenLayout(visual, torch.ones_like(visual)), past=0)
    rotary = angles.cos().to(dtype), angles.sin().to(dtype)
    return LayerInput(hidden.to(dtype), LayerTables(rotary, None, slots, past=0, new=TOKENS, dtype=dtype))


def exact_scores(model: PreTrainedModel, given: LayerInput, scoring: Scoring, rope: bool) -> torch.Tensor:
    """From the queries and keys that sdpa is given, head by head in float64; without rotations, from exact keys."""
    layer = parts_of(model).layers[1]
    attention, normed = layer.self_attn, layer.input_layernorm(given.hidden[0])
    query = attention.q_proj(normed[-1]).double().view(-1, 8)
    if rope:
        keys = attention.k_proj(normed).double().view(TOKENS, -1, 8)
    else:
        wide = copy.deepcopy(layer).double()
        keys = wide.self_attn.k_proj(wide.input_layernorm(given.hidden[0].double())).view(TOKENS, -1, 8)
    cos, sin = (table[0].double() for table in given.tables.rotary)

    def turned(states: torch.Tensor, token: int) -> torch.Tensor:
        return states * cos[token] + torch.cat([-states[4:], states[:4]]) * sin[token] if rope else states

    total = torch.zeros(8, dtype=torch.float64)
    for head in range(len(query)):
        shared = head * keys.shape[1] // len(query)
        last = turned(query[head], TOKENS - 1)
        logits = torch.stack([turned(keys[token, shared], token) @ last for token in range(TOKENS)])
        if scoring == "release":
            total += logits[2:10].softmax(0)
        else:
            total += (logits * attention.scaling).softmax(0)[2:10]
    return total / len(query)


@given(
    family=st.sampled_from(["llava", "qwen2_5_vl"]),
    dtype=st.sampled_from([torch.float16, torch.bfloat16]),
    bias=st.sampled_from([0.0, 3.0, 60.0, 200.0]),
    scoring=st.sampled_from(["attention", "release"]),
    rope=st.booleans(),
    autocast=st.booleans(),
    copies=st.booleans(),
    seed=st.integers(0, 9999),
)
@settings(max_examples=80, deadline=None)
@torch.no_grad()
def test_scores_are_those_of_the_models_queries_and_keys(
    family: str,
    dtype: torch.dtype,
    bias: float,
    scoring: Scoring,
    rope: bool,
    autocast: bool,
    copies: bool,
    seed: int,
) -> None:
    model = copy.deepcopy(untouched(family))
    attention = parts_of(model).layers[1].self_attn
    if attention.k_proj.bias is not None:
        generator = torch.Generator().manual_seed(seed)
        for project in (attention.q_proj, attention.k_proj):
            project.bias.data = bias * torch.randn(project.bias.shape, generator=generator)
    model, given_input = model.to(dtype), layer_input(dtype, seed, copies)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast and dtype == torch.bfloat16):
        scores = attention_scores(parts_of(model), parts_of(model).layers[1], given_input, scoring, rope)[0, 2:10]
    assert scores.dtype == torch.float32
    exact = exact_scores(model, given_input, scoring, rope)
    # Float32 adds up logits of 200 * 200 * 8 to about 0.02.
    torch.testing.assert_close(scores.double(), exact, rtol=0.1 if bias == 200.0 else 0.01, atol=1e-6)
    if copies and not rope:
        torch.testing.assert_close(scores[2], scores[5], rtol=1e-5 if bias < 60.0 else 1e-3, atol=0)


@HALF
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "gemma3"])
@pytest.mark.parametrize("rope", [False, True])
def test_equal_scores_keep_the_first_tokens(family: str, dtype: torch.dtype, rope: bool) -> None:
    """With queries of 0 every key gets the same attention, in every dtype."""
    inputs = tiny_prompt(family)
    found = []
    for kind in (torch.float32, dtype):
        model = tiny_model(family).to(kind)
        query = parts_of(model).layers[1].self_attn.q_proj
        query.weight.data.zero_()
        if query.bias is not None:
            query.bias.data.zero_()
        options = {"rope": rope}
        found.append(
            kept(model, of_dtype(inputs, kind), Keep(layer=2, keep_ratio=0.25, selector="attention", options=options))
        )
    first = int((inputs["input_ids"][0] == IMAGE).nonzero()[0])
    assert found == [[first, first + 1, first + 2, first + 3]] * 2


KEEPS = pytest.mark.parametrize(
    "keep",
    [
        Keep(layer=2, keep_ratio=0.25, selector="attention"),
        Keep(layer=2, keep_ratio=0.25, selector="attention", options={"scoring": "release", "rope": False}),
        Keep(layer=2, keep_ratio=0.25),  # no anchors: coverage alone
        Keep(layer=2, keep_ratio=0.75, options={"anchor_share": 0.5}),
    ],
    ids=str,
)


def overflowing(family: str, value: float = torch.nan) -> PreTrainedModel:
    """A model in whose second layer one of the visual tokens turns into NaN."""
    model = tiny_model(family)

    def spoil(module: torch.nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[:, 6] = value
        return output

    for layer in parts_of(model).layers[:2]:
        layer.register_forward_hook(spoil)
    return model


@KEEPS
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize(
    ("dtype", "remedy"),
    [
        (torch.float16, "load the model in bfloat16 or float32"),
        (torch.bfloat16, "check the checkpoint's weights"),
        (torch.float32, "check the checkpoint's weights"),
    ],
)
def test_numbers_that_are_not_finite_are_no_ranking(keep: Keep, value: float, dtype: torch.dtype, remedy: str) -> None:
    model = overflowing("llava", value).to(dtype)
    with pytest.raises(UnsupportedError) as error:
        kept(model, of_dtype(tiny_prompt("llava"), dtype), keep)
    message = str(error.value)
    assert "visual tokens cannot be ranked at layer 2, because their " in message
    assert f"got NaN or infinite values in row 0 of a model in {str(dtype)[6:]}; expected finite numbers" in message
    assert remedy in message and "\n" not in message
    layers = parts_of(model).layers
    assert all("forward" not in layer.__dict__ for layer in layers)  # the model is as it was


@pytest.mark.parametrize("keep", [Keep(layer=2, keep_ratio=0.25, selector=name) for name in ("uniform", "random")])
def test_selectors_that_rank_nothing_do_not_look(keep: Keep) -> None:
    assert len(kept(overflowing("llava"), tiny_prompt("llava"), keep)) == 4


def test_the_row_is_named() -> None:
    model = tiny_model("llava")

    def spoil(module: torch.nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        output = output.clone()
        output[1] = torch.nan
        return output

    parts_of(model).layers[0].register_forward_hook(spoil)
    with (
        pytest.raises(HalfVError, match="in row 1 of a model in float32"),
        torch.inference_mode(),
        apply(model, Plan((Keep(layer=2, keep_ratio=0.25, selector="attention"),))),
    ):
        model(**tiny_batch("llava", [{}, {"after": 4}]))


def test_a_query_that_overflows_float16_is_an_error_where_attention_is_shown() -> None:
    model = tiny_model("qwen2_5_vl").half()
    parts_of(model).layers[1].self_attn.q_proj.weight.data.fill_(6e4)
    with pytest.raises(UnsupportedError, match="attention of layer 1 to visual tokens is not finite.*bfloat16 or fl"):
        attention_of_last(model, of_dtype(tiny_prompt("qwen2_5_vl"), torch.float16), [0, 1])


def test_a_final_norm_that_overflows_float16_still_measures_distances() -> None:
    """Its weights are large in some families; the distances are cosines, for which that does not matter."""
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    parts_of(model).norm.weight.data.fill_(6e4)
    keep = Keep(layer=2, keep_ratio=0.5)
    high = copy.deepcopy(model.half()).float()
    assert kept(model, of_dtype(inputs, torch.float16), keep) == kept(high, inputs, keep)
