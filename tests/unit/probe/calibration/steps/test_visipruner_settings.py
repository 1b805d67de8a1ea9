"""How VisiPruner's layers and thresholds are chosen from what was measured."""

import math
from typing import Any

import pytest
import torch

from halfv_core.cost import DecoderShape
from halfv_core.method_records import VisiPrunerFindings, VisiPrunerSetting
from halfv_core.models import load_model
from halfv_core.runtime import apply
from probe.calibration.steps.answer import Answer
from probe.calibration.steps.step import ProbedModel
from probe.calibration.steps.visipruner_settings import ShallowLayers, Thresholds, settings_for
from probe.data.samples import load_samples
from probe.trials.answers import greedy_answer, read_answer

SHAPE = DecoderShape(12, 32, 32, 32, 48, 4)
ANSWERS = {"a": Answer((1, 2), -0.1), "b": Answer((3,), -0.1)}
FUSED = [1.0] * 4 + [0.99] + [0.9999] * 7


def shallow(losses: list[float], floor: float = 0.0) -> VisiPrunerFindings:
    """What is found if these shares of the score are lost, in both samples, when ever more layers are hidden."""
    items: dict[str, Any] = {
        name: {
            "falls": [-math.log(1 - loss) / len(answer.ids) for loss in losses],
            "flops": [100 - 5 * place for place in range(1, len(losses) + 1)],
            "full_flops": 100,
            "floor": -math.log(1 - floor) / len(answer.ids),
            "min_cosine": FUSED,
        }
        for name, answer in ANSWERS.items()
    }
    found = ShallowLayers(ANSWERS, SHAPE).combine(items).visipruner
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("losses", "floor", "hidden"),
    [
        ([0.0] * 6, 0.0, 6),
        ([0.001, 0.009, 0.011, 0.0, 0.0, 0.0], 0.0, 2),  # a longer range does not count where a shorter one harms
        ([0.5] * 6, 0.0, 0),
        ([0.025] * 3 + [0.05] * 3, 0.02, 3),  # what another kernel changes too is not lost
    ],
)
def test_the_longest_range_that_changes_nothing(losses: list[float], floor: float, hidden: int) -> None:
    found = shallow(losses, floor)
    assert found.hidden == hidden and found.setting is None
    assert found.flops_ratio == pytest.approx(100 / (100 - 5 * hidden))
    expected = (1 - losses[hidden - 1]) / (1 - floor) if hidden else 1.0
    assert found.retention == pytest.approx(expected)
    assert found.noise_floor == pytest.approx(floor)


def test_stages_are_those_of_the_published_thresholds() -> None:
    found = shallow([0.0] * 6)
    assert found.middle.model_dump() == {"layer": 4, "low": 4, "high": 4, "share": 1.0}
    assert found.deep.layer == 7  # the two layers after the filter vote, and the tokens are gone from the next one on


@pytest.mark.parametrize(
    ("layers", "ranges"), [(2, (1,)), (5, (1, 2)), (12, (1, 2, 3, 4, 5, 6)), (32, (2, 4, 6, 8, 10, 12, 14, 16))]
)
def test_ranges_reach_half_of_the_depth(layers: int, ranges: tuple[int, ...]) -> None:
    step = ShallowLayers(ANSWERS, SHAPE.__class__(**SHAPE.__dict__ | {"layers": layers}))
    assert step.ranges == ranges
    assert [tuple(plan.hides[0].layers) for plan in step.plans] == [tuple(range(1, last + 1)) for last in ranges]


def setting(first: int, below: float, above: float | None = None) -> VisiPrunerSetting:
    return VisiPrunerSetting(first_layer=first, filter_below=below, keep_above=0.01, exit_above=above)


MILD, MIDDLE, BOLD, FREE = SETTINGS = (setting(9, 0.9), setting(5, 0.95, 0.999), setting(4, 0.98, 0.9), setting(3, 1.0))


def chosen(retention: float, losses: list[float], flops: list[int]) -> VisiPrunerFindings:
    falls = {name: [-math.log(1 - loss) / len(answer.ids) for loss in losses] for name, answer in ANSWERS.items()}
    items = {name: {"falls": falls[name], "flops": flops, "full_flops": 100} for name in ANSWERS}
    found = Thresholds(ANSWERS, SHAPE, retention, SETTINGS, shallow([0.0, 0.5])).combine(items).visipruner
    assert found is not None and (found.hidden, found.middle.layer) == (1, 4)
    return found


@pytest.mark.parametrize(
    ("retention", "best"),
    [(0.85, FREE), (0.92, MIDDLE), (0.97, MILD)],
)
def test_what_keeps_enough_and_saves_most_is_chosen(retention: float, best: VisiPrunerSetting) -> None:
    """Of the two middle ones, which cost nearly the same, the one that keeps more."""
    losses, flops = [0.01, 0.05, 0.07, 0.13], [80, 60, 59, 40]
    found = chosen(retention, losses, flops)
    assert found.setting == best
    place = SETTINGS.index(best)
    assert (found.retention, found.flops_ratio) == pytest.approx((1 - losses[place], 100 / flops[place]))


@pytest.mark.parametrize(("losses", "flops"), [([0.5] * 4, [40] * 4), ([0.0] * 4, [96] * 4)])
def test_without_a_setting_that_keeps_enough_or_saves_more_nothing_is_pruned(
    losses: list[float], flops: list[int]
) -> None:
    found = chosen(0.97, losses, flops)
    assert found == shallow([0.0, 0.5]) and found.setting is None


@pytest.mark.parametrize(("layers", "first"), [(2, [1]), (5, [1, 2, 3, 4]), (32, [8, 12, 18, 24])])
def test_the_grid_holds_no_setting_twice(layers: int, first: list[int]) -> None:
    grid = settings_for(layers)
    assert sorted({one.first_layer for one in grid}) == first and len(grid) == 12 * len(first)
    assert len({one.model_dump_json() for one in grid}) == len(grid)


def test_a_budget_without_room_leaves_the_published_settings() -> None:
    assert ShallowLayers(ANSWERS, SHAPE).combine({}).visipruner is None
    assert Thresholds(ANSWERS, SHAPE, 0.9, SETTINGS).combine({}).visipruner is None


def test_an_item_is_what_separate_runs_give() -> None:
    """Falls and measured FLOPs of a run that begins at a later layer are those of a whole run."""
    loaded = load_model("tiny-llava", device="cpu")
    model, sample = ProbedModel(loaded.model, loaded.processor), next(iter(load_samples("scenes")))
    inputs = model.inputs(sample)
    ids = greedy_answer(loaded.model, inputs, 4)
    full = read_answer(loaded.model, inputs, ids).log_likelihood
    shape = DecoderShape.of(loaded.model.config.get_text_config(), 4)
    step = Thresholds({sample.id: Answer(tuple(ids.tolist()), full)}, shape, 0.9, SETTINGS, shallow([0.0, 0.5]))
    assert all(plan.hidden_layers == {1} for plan in step.plans)
    item = step.measure(model, sample)
    for plan, fall, flops in zip(step.plans, item["falls"], item["flops"], strict=True):
        with torch.no_grad(), apply(loaded.model, plan) as run:
            alone = read_answer(loaded.model, inputs, ids).log_likelihood
        assert fall == pytest.approx(full - alone, abs=1e-5)
        assert (flops, item["full_flops"]) == (run.cost.prefill_flops, run.cost.prefill_flops_full)
    assert len(set(item["flops"])) > 1
