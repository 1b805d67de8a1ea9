"""Every registered selector keeps the promise of `Selector.select`, on made-up tokens and inside a model."""

import contextlib
import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from halfv_core import HalfVError, Keep, Plan, apply
from halfv_core.families import FAMILIES
from halfv_core.selectors import SELECTORS, Prompt, PromptSelector, ThresholdSelector, make_selector
from halfv_core.selectors.base import Scoring
from tests.masked_reference import masked_logits
from tests.tiny import IMAGE, tiny_batch, tiny_model, tiny_prompt

NAMES = sorted(name for name, kind in SELECTORS.items() if not issubclass(kind, PromptSelector | ThresholdSelector))
SELECTOR = pytest.mark.parametrize("name", NAMES)
"""Those that choose for a batch; of those for one prompt, see test_prompt_selectors.py."""
EVERY_SELECTOR = pytest.mark.parametrize("name", sorted(SELECTORS))


class Tokens:
    """A context of random states and scores, which depend on a row's number of tokens alone; padding is NaN."""

    def __init__(self, *counts: int, duplicates: bool = False) -> None:
        self.visual_counts = counts
        self.device = torch.device("cpu")
        self._states = torch.full((len(counts), max(counts), 8), torch.nan)
        self._scores = torch.full((len(counts), max(counts)), -torch.inf)
        for row, count in enumerate(counts):
            generator = torch.Generator().manual_seed(count)
            states = torch.randn(count, 8, generator=generator)
            self._states[row, :count] = states[:1] if duplicates else states
            self._scores[row, :count] = torch.rand(count, generator=generator)

    def attention_scores(self, scoring: Scoring, rope: bool) -> torch.Tensor:
        return self._scores

    def normed_hidden(self) -> torch.Tensor:
        return self._states.nan_to_num(7.0)

    def prompts(self) -> list[Prompt]:
        raise NotImplementedError


def options_of(name: str) -> dict[str, Any]:
    """Options with which a selector can run here: without downloads, on towers of two layers."""
    if name == "cdpruner":
        return {"relevance": "none"}
    layers = {field.name: -1 for field in dataclasses.fields(SELECTORS[name]) if field.name.endswith("layer")}
    return layers if "vision" in SELECTORS[name]().reads() else {}


@EVERY_SELECTOR
def test_selector_is_frozen_settings(name: str) -> None:
    selector = make_selector(name, options_of(name))
    assert dataclasses.is_dataclass(selector)
    assert selector == make_selector(name, dataclasses.asdict(selector))
    assert selector.__dataclass_params__.frozen  # type: ignore[attr-defined]


@SELECTOR
@settings(max_examples=60, deadline=None)
@given(count=st.integers(2, 40), data=st.data(), duplicates=st.booleans())
def test_selector_chooses_that_many_distinct_tokens(
    name: str, count: int, data: st.DataObject, duplicates: bool
) -> None:
    wanted = data.draw(st.integers(1, count - 1))
    selector = make_selector(name, {})
    chosen = selector.select(Tokens(count, duplicates=duplicates), [wanted])
    assert chosen.dtype == torch.long
    assert chosen.shape == (1, wanted)
    assert len(set(chosen[0].tolist())) == wanted
    assert 0 <= int(chosen.min()) <= int(chosen.max()) < count
    assert torch.equal(chosen, selector.select(Tokens(count, duplicates=duplicates), [wanted]))


@SELECTOR
@settings(max_examples=40, deadline=None)
@given(counts=st.lists(st.integers(2, 40), min_size=2, max_size=5), data=st.data(), duplicates=st.booleans())
def test_prompts_of_a_batch_do_not_influence_each_other(
    name: str, counts: list[int], data: st.DataObject, duplicates: bool
) -> None:
    wanted = [data.draw(st.integers(1, count - 1)) for count in counts]
    selector = make_selector(name, {})
    together = selector.select(Tokens(*counts, duplicates=duplicates), wanted)
    assert together.shape == (len(counts), max(wanted))
    for row, (count, number) in enumerate(zip(counts, wanted, strict=True)):
        alone = selector.select(Tokens(count, duplicates=duplicates), [number])
        assert together[row, :number].tolist() == alone[0].tolist()


@SELECTOR
def test_anchors_are_the_best_attended_of_those_chosen(name: str) -> None:
    selector, tokens = make_selector(name, {}), Tokens(40)
    assert 0 <= selector.anchors(20) <= 20
    best = tokens.attention_scores("attention", False)[0].topk(selector.anchors(20)).indices
    assert set(selector.select(tokens, [20])[0, : selector.anchors(20)].tolist()) == set(best.tolist())
    assert (selector.anchors(20) > 0) == (name in ("anchor_coverage", "attention"))


def inside(name: str, family: str, ratio: float) -> None:
    inputs = tiny_prompt(family, images=2)
    visual = (inputs["input_ids"][0] == IMAGE).nonzero().squeeze(1)
    keep = Keep(layer=2, keep_ratio=ratio, selector=name, options=options_of(name))
    model = tiny_model(family)
    plan = Plan((keep,))
    with torch.no_grad(), apply(model, plan) as run:
        logits = model(**inputs).logits[0, -1]
    kept = run.kept[2][0]
    torch.testing.assert_close(logits, masked_logits(model, inputs, plan, {2: kept})[-1], atol=1e-5, rtol=1e-5)
    assert len(kept) == max(1, int(len(visual) * ratio))
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert set(kept.tolist()) <= set(visual.tolist())


@SELECTOR
@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.999])
def test_selector_inside_a_model(name: str, family: str, ratio: float) -> None:
    inside(name, family, ratio)


@pytest.mark.parametrize("name", sorted(name for name, kind in SELECTORS.items() if issubclass(kind, PromptSelector)))
@pytest.mark.parametrize(("family", "ratio"), [("llava", 0.3), ("qwen2_5_vl", 0.99)])
def test_selector_of_one_prompt_inside_a_model(name: str, family: str, ratio: float) -> None:
    inside(name, family, ratio)


@pytest.mark.parametrize("family", sorted(FAMILIES))
@EVERY_SELECTOR
def test_what_a_family_lacks_is_one_line(name: str, family: str) -> None:
    """A selector runs, or says in one line why it cannot."""
    amount = {} if issubclass(SELECTORS[name], ThresholdSelector) else {"keep_ratio": 0.5}
    plan = Plan((Keep(layer=1, selector=name, options=options_of(name), **amount),))
    model, reads = tiny_model(family), set(plan.reads()) & {"vision", "grids"}
    known = FAMILIES[family].tower is not None
    with contextlib.nullcontext() if known or not reads else pytest.raises(HalfVError, match="vision tower"):
        with torch.no_grad(), apply(model, plan) as run:
            model(**tiny_prompt(family))
        assert run.kept[1]


def plan_of(name: str, ratio: float = 0.4) -> Plan:
    amount = {} if issubclass(SELECTORS[name], ThresholdSelector) else {"keep_ratio": ratio}
    return Plan((Keep(layer=2, selector=name, options=options_of(name), **amount),))


@EVERY_SELECTOR
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
@torch.no_grad()
def test_rows_of_a_batch_are_chosen_for_as_if_alone(name: str, family: str) -> None:
    model, prompts = tiny_model(family), [{"after": 3}, {"images": 2}, {"images": 0}]
    batch = tiny_batch(family, prompts)
    if family == "llava":  # which counts padding, if it is not told the positions; ivcprune reads them
        batch["position_ids"] = (batch["attention_mask"].cumsum(1) - 1).clamp_min(0)
    with apply(model, plan_of(name)) as run:
        together = model(**batch).logits[:, -1]
        kept = run.kept[2]
        for row, prompt in enumerate(prompts):
            alone = tiny_prompt(family, seed=row, **prompt)
            left = batch["input_ids"].shape[1] - alone["input_ids"].shape[1]
            torch.testing.assert_close(together[row], model(**alone).logits[0, -1], atol=1e-5, rtol=1e-5)
            assert (kept[row] - left).tolist() == run.kept[2][0].tolist()


@pytest.mark.parametrize("name", sorted(set(SELECTORS) - {"visipruner", "prumerge_adaptive"}))
@torch.no_grad()
def test_keeping_every_token_is_bit_identical(name: str) -> None:
    model, inputs = tiny_model("llava"), tiny_prompt("llava")
    expected = model(**inputs).logits
    with apply(model, plan_of(name, 1.0)):
        assert torch.equal(model(**inputs).logits, expected)


@pytest.mark.parametrize("name", sorted(set(SELECTORS) - {"random", "uniform"}))
def test_numbers_that_are_not_finite_are_not_ranked(name: str) -> None:
    """Of the vision tower's readings, only what the decoder made of them is seen."""
    if plan_of(name).reads() & {"vision"} and not plan_of(name).reads() & {"previous"}:
        pytest.skip("it looks at the vision tower only")
    model, inputs = tiny_model("llava"), tiny_prompt("llava")

    def damaged(_: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (args[0] * torch.nan,)

    handle = model.model.language_model.layers[1].register_forward_pre_hook(damaged)
    try:
        with torch.no_grad(), apply(model, plan_of(name)), pytest.raises(HalfVError, match="are not finite"):
            model(**inputs)
    finally:
        handle.remove()
