"""Every registered selector keeps the promise of `Selector.select`, on made-up tokens and inside a model."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from halfv_core import Keep, Plan, apply
from halfv_core.families import FAMILIES
from halfv_core.selectors import SELECTORS, make_selector
from halfv_core.selectors.base import Scoring
from tests.tiny import IMAGE, tiny_model, tiny_prompt

SELECTOR = pytest.mark.parametrize("name", sorted(SELECTORS))


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


@SELECTOR
def test_selector_is_frozen_settings(name: str) -> None:
    selector = make_selector(name, {})
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


@SELECTOR
@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("ratio", [0.01, 0.3, 0.999])
def test_selector_inside_a_model(name: str, family: str, ratio: float) -> None:
    inputs = tiny_prompt(family, images=2)
    visual = (inputs["input_ids"][0] == IMAGE).nonzero().squeeze(1)
    keep = Keep(layer=2, keep_ratio=ratio, selector=name)
    model = tiny_model(family)
    with torch.no_grad(), apply(model, Plan((keep,))) as run:
        assert model(**inputs).logits.isfinite().all()
    kept = run.kept[2][0]
    assert len(kept) == max(1, int(len(visual) * ratio))
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert set(kept.tolist()) <= set(visual.tolist())
