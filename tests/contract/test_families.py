"""Every registered family, tiny and random, through the same matrix: no-op, keep, freeze, decode, several images."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from halfv_core import Freeze, HalfVError, Hide, Keep, Plan, apply
from halfv_core.families import FAMILIES, parts_of
from tests.masked_reference import Chosen, generate_by_recomputation, masked_logits
from tests.tiny import IMAGE, LAYERS, TINY, VIDEO, continued, padded, tiny_model, tiny_prompt

FAMILY = pytest.mark.parametrize("family", sorted(FAMILIES))
KERNEL = pytest.mark.parametrize("kernel", ["eager", "sdpa"])
GREEDY = {"do_sample": False, "max_new_tokens": 5}

PLANS = {
    "keep_half": Plan((Keep(layer=2, keep_ratio=0.5),)),
    "drop_all": Plan((Keep(layer=1, keep_ratio=0.0),)),
    "keep_twice": Plan((Keep(layer=1, keep_ratio=0.6), Keep(layer=3, keep_ratio=0.15, selector="attention"))),
    "neighbouring_keeps": Plan((Keep(layer=1, keep_ratio=0.6), Keep(layer=2, keep_ratio=0.3, selector="attention"))),
    "freeze": Plan((Freeze(layers=range(2, LAYERS)),)),
    "freeze_one": Plan((Freeze(layers=[1]),)),
    "freeze_from_the_start": Plan((Freeze(layers=[0, 1, 3]),)),
    "keep_a_number": Plan((Keep(layer=1, tokens=5, selector="attention"), Keep(layer=3, keep_ratio=0.2))),
    "keep_then_freeze": Plan((Keep(layer=1, keep_ratio=0.5, selector="uniform"), Freeze(layers=[3, 4]))),
    "keep_inside_freeze": Plan((Freeze(layers=[1, 2, 3]), Keep(layer=2, keep_ratio=0.4, selector="attention"))),
}
PLAN = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())


def matrix(name: str, four: Mapping[str, Any]) -> pytest.MarkDecorator:
    """Each family, kernel, one of four values and plan; without --runslow a quarter of it, in which any two meet."""
    cases = []
    axes = (sorted(FAMILIES), ("eager", "sdpa"), four, PLANS)
    for places in product(*(enumerate(axis) for axis in axes)):
        (f, family), (k, kernel), (v, value), (p, plan) = places
        marks = () if (f + 2 * k + v + p) % 4 == 0 else pytest.mark.slow
        names = f"{family}-{kernel}-{value}-{plan}"
        cases.append(pytest.param(family, kernel, four[value], PLANS[plan], id=names, marks=marks))
    return pytest.mark.parametrize(("family", "kernel", name, "plan"), cases)


PROMPTS = {
    "one_image": {},
    "image_first": {"before": 0},
    "two_images": {"images": 2},
    "text_between": {"images": 3, "between": (5, 1), "after": 2},
}


def check_against_reference(
    family: str, kernel: str, plan: Plan, inputs: dict[str, Any], decoder: str | None = None
) -> None:
    model = tiny_model(family, kernel=kernel, decoder=decoder)
    real = inputs["attention_mask"][0].bool()
    with torch.no_grad(), apply(model, plan) as run:
        logits = model(**inputs).logits[0]
        kept = Chosen.of(run)
        generated = model.generate(**inputs, **GREEDY)[0, inputs["input_ids"].shape[1] :].tolist()
    expected = masked_logits(model, inputs, plan, kept)
    text = real & ~torch.isin(inputs["input_ids"][0], torch.tensor([IMAGE, VIDEO]))
    torch.testing.assert_close(logits[text], expected[text], atol=1e-5, rtol=1e-5)
    assert generated == generate_by_recomputation(model, inputs, plan, kept, GREEDY["max_new_tokens"])


@FAMILY
def test_family_has_a_tiny_model(family: str) -> None:
    assert family in TINY
    parts = parts_of(tiny_model(family))
    assert len(parts.layers) == LAYERS
    assert IMAGE in parts.visual_ids


@matrix("prompt", PROMPTS)
def test_plan_equals_masked_reference(family: str, kernel: str, prompt: dict[str, Any], plan: Plan) -> None:
    check_against_reference(family, kernel, plan, tiny_prompt(family, **prompt))


@FAMILY
@KERNEL
@pytest.mark.parametrize("name", ["keep_twice", "keep_then_freeze"])
def test_left_padding_equals_masked_reference(family: str, kernel: str, name: str) -> None:
    check_against_reference(family, kernel, PLANS[name], padded(tiny_prompt(family), 3))


@pytest.mark.parametrize(
    ("family", "decoder"), [(name, decoder) for name in sorted(FAMILIES) for decoder in FAMILIES[name].decoders[1:]]
)
@KERNEL
@PLAN
def test_every_other_decoder_equals_masked_reference(family: str, decoder: str, kernel: str, plan: Plan) -> None:
    check_against_reference(family, kernel, plan, tiny_prompt(family), decoder)


SELECTIONS: list[tuple[str, dict[str, bool | int | float | str]]] = [
    ("anchor_coverage", {}),
    ("anchor_coverage", {"anchor_share": 0.0}),
    ("anchor_coverage", {"anchor_share": 0.5, "scoring": "release", "rope": True}),
    ("attention", {}),
    ("attention", {"scoring": "release", "rope": False}),
    ("random", {"seed": 3}),
    ("uniform", {}),
]
"""Selectors with options, from which property tests draw."""


UNSCORED = [("random", {"seed": 3}), ("uniform", {}), ("divprune", {})]
"""Selectors that do not read the layer before."""


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Up to two keeps by any selector, and any layers frozen or hidden, perhaps but for some tokens."""
    layers = draw(st.lists(st.integers(0, LAYERS - 1), unique=True, max_size=2).map(sorted))
    ratios = sorted(draw(st.lists(st.floats(0, 1), min_size=len(layers), max_size=len(layers))), reverse=True)
    frozen = draw(st.sets(st.integers(0, LAYERS - 1)))
    hidden = draw(st.just(set()) | st.sets(st.integers(0, LAYERS - 1), max_size=2)) - frozen
    items: list[Keep | Freeze | Hide] = []
    for layer, ratio in zip(layers, ratios, strict=True):
        selector, options = draw(st.sampled_from(SELECTIONS if layer and layer - 1 not in hidden else UNSCORED))
        cache = draw(st.sampled_from(["onward", "onward", "everywhere"]))
        items.append(Keep(layer=layer, keep_ratio=ratio, selector=selector, options=options, cache=cache))
    for kind, where in ((Freeze, frozen), (Hide, hidden)):
        if where:
            selector, options = draw(st.sampled_from(UNSCORED))
            share = draw(st.sampled_from([0.0, 0.0, 0.3]))
            items.append(kind(layers=where, keep_ratio=share, selector=selector, options=options))
    try:
        return Plan(items)
    except HalfVError:  # a Keep among hidden layers
        return Plan([item for item in items if not isinstance(item, Hide)][: len(layers)])


@FAMILY
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_any_plan_equals_masked_reference(family: str, data: st.DataObject) -> None:
    images = data.draw(st.integers(1, 2))
    prompt = tiny_prompt(family, before=data.draw(st.integers(0, 5)), after=data.draw(st.integers(1, 5)), images=images)
    inputs = padded(prompt, data.draw(st.integers(0, 3)))
    check_against_reference(family, data.draw(st.sampled_from(["eager", "sdpa"])), data.draw(plans()), inputs)


@FAMILY
@KERNEL
def test_plan_that_does_nothing_is_bit_identical(family: str, kernel: str) -> None:
    model, inputs = tiny_model(family, kernel=kernel), tiny_prompt(family, images=2)
    logits, ids = model(**inputs).logits, model.generate(**inputs, **GREEDY)
    for plan in (Plan(()), Plan((Keep(layer=2, keep_ratio=1.0), Keep(layer=3, keep_ratio=1.0)))):
        with apply(model, plan) as run:
            assert torch.equal(model(**inputs).logits, logits)
            assert torch.equal(model.generate(**inputs, **GREEDY), ids)
        assert run.cost.flops_ratio == run.cost.kv_ratio == 1.0


@FAMILY
@KERNEL
def test_a_real_plan_changes_the_logits(family: str, kernel: str) -> None:
    model, inputs = tiny_model(family, kernel=kernel), tiny_prompt(family)
    logits = model(**inputs).logits[0, -1]
    for plan in PLANS.values():
        with apply(model, plan):
            assert not torch.allclose(model(**inputs).logits[0, -1], logits, atol=1e-4)


@FAMILY
@KERNEL
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_near_float32(family: str, kernel: str, dtype: torch.dtype) -> None:
    inputs = tiny_prompt(family)
    text = inputs["input_ids"][0] != IMAGE
    found = []
    for kind in (torch.float32, dtype):
        model = tiny_model(family, kernel=kernel).to(kind)
        plan = Plan((Keep(layer=1, keep_ratio=0.5, selector="uniform"), Freeze(layers=[3, 4])))
        with torch.no_grad(), apply(model, plan):
            found.append(model(**inputs).logits[0, text].float())
    assert (found[1] - found[0]).norm() < 0.05 * found[0].norm()


@FAMILY
@KERNEL
def test_text_only_prompts_run_untouched(family: str, kernel: str) -> None:
    model = tiny_model(family, kernel=kernel)
    inputs = {name: value.repeat(3, 1) for name, value in tiny_prompt(family, images=0).items()}
    logits, ids = model(**inputs).logits, model.generate(**inputs, **GREEDY)
    with apply(model, PLANS["keep_then_freeze"]) as run:
        assert torch.equal(model(**inputs).logits, logits)
        assert torch.equal(model.generate(**inputs, **GREEDY), ids)
    assert [len(row) for row in run.kept[1]] == [0, 0, 0]


@FAMILY
@KERNEL
def test_cache_holds_what_the_plan_says(family: str, kernel: str) -> None:
    model, inputs = tiny_model(family, kernel=kernel), tiny_prompt(family)
    length, new = inputs["input_ids"].shape[1], GREEDY["max_new_tokens"] - 1
    with apply(model, PLANS["keep_twice"]) as run:
        out = model.generate(**inputs, **GREEDY, return_dict_in_generate=True)
    cached = [out.past_key_values.get_seq_length(layer) for layer in range(LAYERS)]
    assert cached == [length + new, length - 16 + 9 + new, length - 16 + 9 + new] + [length - 16 + 2 + new] * 2
    layers = out.past_key_values.layers
    assert run.cost.kv_bytes == sum(
        x.numel() * x.element_size() for layer in layers for x in (layer.keys, layer.values)
    )


@FAMILY
@KERNEL
def test_a_second_turn_continues_the_cache(family: str, kernel: str) -> None:
    """Several tokens at once after the prompt: the same as one by one, and as one prompt with a masked run."""
    model, inputs, plan = tiny_model(family, kernel=kernel), tiny_prompt(family), PLANS["keep_twice"]
    turn = torch.tensor([[7, 8, 9]])
    with torch.no_grad(), apply(model, plan) as run:
        first = model(**inputs, use_cache=True)
        together = model(input_ids=turn, past_key_values=first.past_key_values, use_cache=True).logits[0]
        kept = {layer: rows[0] for layer, rows in run.kept.items()}
        cache, singly = model(**inputs, use_cache=True).past_key_values, []
        for token in turn.split(1, dim=1):
            singly.append(model(input_ids=token, past_key_values=cache, use_cache=True).logits[0, -1])
    expected = masked_logits(model, continued(inputs, turn), plan, kept)[-3:]
    torch.testing.assert_close(together, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(torch.stack(singly), expected, atol=1e-5, rtol=1e-5)
