"""VisiPruner's layers and stages, against a table, a loop, and the plan of the method."""

import random
import statistics

import numpy as np
import pytest

from halfv_core.cost import DecoderShape
from halfv_core.methods import METHODS, Target
from halfv_core.plan import When
from probe.analyzers.visipruner_stages import exit_layers, filter_layers, first_asked, visipruner_stages

A, B, C = 0.9999, 0.997, 0.99
"""No token matters; none much; one matters."""


@pytest.mark.parametrize(
    ("row", "filtered", "left"),
    [
        ([A, A, C, B, A, A, A, A], 2, 5),
        ([A, A, B, C, A, B, A, A], 3, 6),  # exit layers need not follow each other
        ([C, C, A, A, C, A, A, A], 4, 6),  # the first two layers are not asked, and exits count after the filter only
        ([A, A, C, A, B, C, B, B], 2, 8),  # one exit layer is too few
        ([A, A, A, A, A, A, A, A], 8, 8),
        ([A, A, B, B, B, B, B, C], 7, 8),
        ([A, A, 0.995, 0.995, 0.9949999, 0.999, 0.999, A], 4, 6),  # the thresholds themselves
    ],
)
def test_layers_of_a_sample(row: list[float], filtered: int, left: int) -> None:
    found = filter_layers([row], first=2)
    assert found.tolist() == [filtered]
    assert exit_layers([row], found).tolist() == [left]


def slow(row: list[float], below: float, above: float, first: int) -> tuple[int, int]:
    filtered, votes = len(row), 0
    for layer, lowest in enumerate(row):
        if filtered == len(row):
            if layer >= first and lowest < below:
                filtered = layer
        elif lowest >= above:
            votes += 1
            if votes == 2:
                return filtered, layer
    return filtered, len(row)


@pytest.mark.parametrize(("below", "above"), [(0.998, 0.9995), (0.9999, 0.995)])
def test_samples_are_judged_one_by_one(below: float, above: float) -> None:
    """Also where a reader lets one token matter and none matter in the same layer."""
    generator = random.Random(0)
    rows = [[generator.choice([0.99995, A, B, C]) for _ in range(12)] for _ in range(200)]
    filtered = filter_layers(rows, below=below, first=3)
    left = exit_layers(rows, filtered, above=above)
    assert list(zip(filtered.tolist(), left.tolist(), strict=True)) == [slow(row, below, above, 3) for row in rows]
    assert len(set(filtered.tolist())) > 3 and len(set(left.tolist())) > 3


@pytest.mark.parametrize(("layers", "first"), [(32, 7), (40, 9), (28, 6), (12, 2), (5, 1), (1, 1)])
def test_the_first_layer_that_is_asked_lies_as_deep(layers: int, first: int) -> None:
    assert first_asked(layers) == first


@pytest.mark.parametrize("layers", [12, 24, 28, 32, 36, 40, 48, 80])
def test_the_methods_plan_asks_at_the_same_layers(layers: int) -> None:
    """A When reads the layer before the one at which it acts."""
    target = Target("llava", DecoderShape(layers, 4096, 4096, 4096, 11008, 2), 576, 64)
    rules = [part for part in METHODS["visipruner"]().default(target).interventions if isinstance(part, When)]
    assert {rule.from_layer - 1 for rule in rules} == {first_asked(layers)}
    assert [rule.options["threshold"] for rule in rules] == [0.995, 0.999]


def test_stages_are_medians_with_intervals_around_them() -> None:
    rows = [[A] * 4 + [C] * width + [A] * (12 - width) for width in (1, 2, 3, 4, 5, 6, 7)]
    found = visipruner_stages(rows, first=2)
    assert found.middle == (4, 4, 4, 1.0)
    starts = [int(layer) + 1 for layer in exit_layers(rows, filter_layers(rows, first=2))]
    assert found.deep.layer == statistics.median_low(starts)
    assert min(starts) <= found.deep.low < found.deep.layer < found.deep.high <= max(starts)
    assert found.deep.share == 1.0


def test_a_stage_that_most_samples_lack_does_not_begin() -> None:
    fused, never = [A, A, C, A, A, A], [A] * 6
    found = visipruner_stages([fused, never, never], first=1)
    assert found.middle.layer == found.deep.layer == 6
    assert found.middle.share == pytest.approx(1 / 3)
    assert visipruner_stages([fused], first=1) == ((2, 2, 2, 1.0), (5, 5, 5, 1.0))


def test_a_lower_bar_for_mattering_begins_the_middle_stage_later() -> None:
    """As when a reader moves the slider."""
    rows = np.linspace(1.0, 0.9, 21)[None].repeat(5, 0)
    starts = [visipruner_stages(rows, filter_below=below, first=1).middle.layer for below in (1.0, 0.99, 0.95, 0.9)]
    assert starts == [1, 3, 11, 21]
