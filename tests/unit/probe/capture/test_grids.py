"""The grids of a prompt's images: which visual token is where."""

import pytest
import torch

from halfv_core.families import FAMILIES
from probe.capture.grids import places
from probe.capture.prompt_run import PromptRun
from tests.tiny import tiny_model, tiny_prompt

WITH_TOWER = sorted(name for name, family in FAMILIES.items() if family.tower is not None)


def test_tokens_are_numbered_row_by_row() -> None:
    first, second = places([(1, 2, 3), (2, 1, 2)])
    assert first.tolist() == [[[0, 1, 2], [3, 4, 5]]]
    assert second.tolist() == [[[6, 7]], [[8, 9]]]


def test_the_last_column_of_tilings_is_on_no_grid() -> None:
    view, tiling = places([(1, 2, 2), (1, 2, 3)], tiles=True)
    assert view.tolist() == [[[0, 1], [2, 3]]]
    assert tiling.tolist() == [[[4, 5], [7, 8]]]


@pytest.mark.parametrize("family", WITH_TOWER)
def test_all_visual_tokens_but_newlines_are_on_a_grid(family: str) -> None:
    model = tiny_model(family)
    run = PromptRun(model, tiny_prompt(family, images=2))
    assert run.grids is not None
    placed = torch.cat([grid.flatten() for grid in run.grids])
    others = torch.tensor(sorted(set(range(int(run.visual.sum()))) - set(placed.tolist())), dtype=torch.long)
    assert len(placed) == len(placed.unique())
    if family != "llava_next":
        assert [grid.shape for grid in run.grids] == [(1, 4, 4)] * 2 and not len(others)
        return
    assert [grid.shape for grid in run.grids] == [(1, 2, 2), (1, 4, 2)] * 2
    newline = model.model.image_newline.detach()
    assert len(others) == 8
    torch.testing.assert_close(run.states[0, run.visual][others], newline.expand(8, -1))


@pytest.mark.parametrize("family", sorted(FAMILIES.keys() - set(WITH_TOWER)))
def test_other_families_have_no_known_grids(family: str) -> None:
    assert PromptRun(tiny_model(family), tiny_prompt(family)).grids is None


def test_tokens_that_form_no_square_have_no_known_grid() -> None:
    """As where the model's config keeps the tower's CLS token among the visual tokens."""
    model = tiny_model("llava")
    model.config.vision_feature_select_strategy = "full"
    inputs = tiny_prompt("llava")
    for name in ("input_ids", "attention_mask"):
        inputs[name] = torch.cat([inputs[name][:, :5], inputs[name][:, 4:]], 1)
    run = PromptRun(model, inputs)
    assert int(run.visual.sum()) == 17 and run.grids is None
