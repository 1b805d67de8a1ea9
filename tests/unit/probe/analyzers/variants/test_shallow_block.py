"""Blocks of the first layers against whole runs with edited masks."""

import pytest
import torch

from halfv_core.runtime.prompt_view import PromptView
from probe.analyzers.findings import Bars
from probe.analyzers.variants.groups import Groups
from probe.analyzers.variants.shallow_block import ShallowBlock, blocks, conditions, shallow_layers
from probe.capture.changes import Change
from tests.separate_run import changes, separate_scores
from tests.unit.probe.analyzers.variants.prompts import FAMILIES, measured, prompt_of


def test_shallow_is_what_it_is_in_a_model_of_32_layers() -> None:
    assert [shallow_layers(layers) for layers in (5, 12, 28, 32, 40)] == [1, 3, 6, 6, 8]
    assert conditions(1) == ("layer 0", "top 10 %", "other 90 %", "random half")
    assert conditions(3)[:3] == ("layer 0", "layers 0-1", "layers 0-2")


def test_what_is_hidden_in_each_layer() -> None:
    visual = torch.tensor([False, True, True, False, True, True, False, False])
    after = torch.tensor([False, False, False, True, False, False, True, True])
    groups = Groups(visual, after, after, after)
    first, second, top, others, half = blocks(groups, [torch.tensor([1.0, 4, 3, 2]), torch.tensor([9.0, 0, 0, 0])])
    assert [sorted(variant) for variant in (first, second, top, others, half)] == [[0], [0, 1], [0, 1], [0, 1], [0, 1]]

    def columns(variant: object, layer: int) -> list[int]:
        assert isinstance(variant, dict)
        rows, mask = variant[layer].unseen
        assert torch.equal(rows, after)
        return mask.nonzero()[:, 0].tolist()

    assert columns(first, 0) == columns(second, 1) == [1, 2, 4, 5]
    assert [columns(top, layer) for layer in (0, 1)] == [[2], [1]]
    assert [columns(others, layer) for layer in (0, 1)] == [[1, 4, 5], [2, 4, 5]]
    assert columns(half, 0) == columns(half, 1)
    assert len(columns(half, 0)) == 2


@FAMILIES
def test_effects_equal_those_of_separate_runs(family: str) -> None:
    prompt = prompt_of(family)
    item = measured("shallow_block", prompt.run)

    def looked(layer: int, view: PromptView) -> torch.Tensor:
        return view.attention(view.question, at="own").mean((0, 1))

    attention = prompt.run.at_every_layer(looked)[0]
    ranked = [place for place in attention.argsort(descending=True).tolist() if prompt.visual[place]]
    top = torch.zeros_like(prompt.visual)
    top[ranked[: int(0.1 * len(ranked))]] = True
    hidden = (prompt.visual, top, prompt.visual & ~top)
    scores = separate_scores(prompt.model, prompt.inputs, [{0: Change(unseen=(prompt.after, some))} for some in hidden])
    assert item["change"][:3] == pytest.approx(changes(scores), abs=1e-5)
    assert item["same"][:3] == (scores[1:].argmax(1) == scores[0].argmax()).tolist()
    assert len({round(change, 6) for change in item["change"]}) == 4


def test_bars() -> None:
    items = {
        "a": {"same": [True, True, False, True], "change": [0.0, -0.5, -2.0, 0.0]},
        "b": {"same": [True, False, False, True], "change": [0.0, -1.5, -1.0, 0.5]},
    }
    kept, change = ShallowBlock().combine(items)
    assert isinstance(kept, Bars)
    assert isinstance(change, Bars)
    assert kept.conditions == conditions(1)
    assert kept.mean == (1.0, 0.5, 0.0, 1.0)
    assert change.mean == (0.0, -1.0, -1.5, 0.25)
