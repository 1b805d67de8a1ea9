"""What every selector that looks at the vision tower has to keep, whatever the tower says."""

import pytest
import torch

from halfv_core.selectors.base import SELECTORS, PromptSelector, make_selector
from tests.vision_readings import random_prompt

NAMES = ["visionzip", "vispruner", "holov", "hiprune", "prumerge"]


def chooser(name: str) -> PromptSelector:
    selector = make_selector(name, {})
    assert isinstance(selector, PromptSelector)
    return selector


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("visual", [2, 3, 8, 37])
@pytest.mark.parametrize("name", NAMES)
def test_it_chooses_as_many_distinct_tokens_as_asked_for(name: str, visual: int, equal: bool) -> None:
    prompt = random_prompt(visual, equal=equal)
    for count in range(1, visual):
        chosen = chooser(name).choose(prompt, count)
        assert len(chosen.unique()) == len(chosen) == count
        assert chosen.min() >= 0 and chosen.max() < visual
        assert torch.equal(chosen, chooser(name).choose(prompt, count))


@pytest.mark.parametrize("name", NAMES)
def test_it_asks_for_the_vision_tower(name: str) -> None:
    selector = SELECTORS[name]()
    assert selector.reads() == {"vision"}
    assert selector.tower_layers() == {getattr(selector, field) for field in vars(selector) if field.endswith("layer")}


@pytest.mark.parametrize("name", NAMES)
def test_its_layer_decides(name: str) -> None:
    prompt = random_prompt(60)
    field = "deep_layer" if name == "hiprune" else "layer"
    first, second = (make_selector(name, {field: layer}) for layer in (-2, 3))
    assert isinstance(first, PromptSelector) and isinstance(second, PromptSelector)
    assert set(first.choose(prompt, 20).tolist()) != set(second.choose(prompt, 20).tolist())
