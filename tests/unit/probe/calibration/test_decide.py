"""The start of Stage II when signals agree or differ, when marginal utility speaks against them, and when it was not
measured; and Stage III where the causes put it.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.analyzers.marginal_utility import UtilitySurface
from probe.calibration.decide import decide_stages, with_causes
from probe.stages.curve_shapes import Array
from probe.stages.detect import detect_stages
from tests.unit.probe.stages.test_detect import corners

LAYERS = 18
FLAT = np.full(LAYERS + 1, 1.0)
SATURATED = corners(LAYERS, (0, 2.0), (1, 3.0), (9, 1.0), (LAYERS, 1.0))
"""Falls until layer 9."""


def text(end: int) -> Array:
    return corners(LAYERS, (0, 4.0), (end, 2.0), (LAYERS, 2.0))


def kl(end: int) -> Array:
    return np.exp(corners(LAYERS, (0, 0.0), (end, -5.0), (LAYERS, -5.0))[:LAYERS])


def surface(**drops: list[float]) -> UtilitySurface:
    """Layers 1..6 with one keep ratio that saves half; each costs 0.1 nats, unless `l2` and so on give other drops."""
    table = np.array([drops.get(f"l{layer}", [0.1] * 5) for layer in range(1, 7)])[:, None, :]
    return UtilitySurface(tuple(range(1, 7)), (0.5,), np.full((6, 1), 0.5), table, np.ones_like(table))


DEAR, CHEAP = [0.8, 0.9, 0.8, 0.9, 0.8], [0.01] * 5


def test_signals_that_agree_stand_where_pruning_costs_no_more_than_elsewhere() -> None:
    found = decide_stages(FLAT, text(3), kl(3), surface(l2=DEAR))
    assert found.candidates == {"text": 3, "kl": 3}
    assert found.stages == detect_stages(FLAT, text(3), kl(3))
    assert found.stages.aggregation_start == 3


@pytest.mark.parametrize(
    ("drops", "layer"),
    [
        ({}, 5),
        ({"l2": DEAR}, 5),
        ({"l2": CHEAP, "l5": DEAR}, 2),
        ({"l3": CHEAP, "l5": DEAR}, 3),
        ({"l5": [0.05, 0.3, 0.1, 0.0, 0.15]}, 5),
    ],
    ids=["all alike", "the earlier costs more", "the later costs more", "both cost more", "more by chance"],
)
def test_the_later_of_text_and_kl_counts_unless_pruning_there_clearly_costs_more_than_somewhere(
    drops: dict[str, list[float]], layer: int
) -> None:
    found = decide_stages(FLAT, text(2), kl(5), surface(**drops))
    assert found.candidates == {"text": 2, "kl": 5}
    assert found.stages.aggregation_start == layer


def test_even_where_signals_agree_the_layer_that_costs_least_is_taken_if_it_costs_clearly_less() -> None:
    assert decide_stages(FLAT, text(3), kl(3), surface(l3=DEAR, l6=CHEAP)).stages.aggregation_start == 6


@pytest.mark.parametrize(
    ("drops", "evidence"),
    [
        (
            {"l2": DEAR},
            "Signals differ: {signals}. {costs}: 0.2 at layer 1, 1.68 at layer 2, 0.2 at layer 3, 0.2 at layer 4, "
            "0.2 at layer 5, 0.2 at layer 6. It does not speak against layer 5, the later of text and KL.",
        ),
        (
            {"l3": CHEAP, "l5": DEAR},
            "{signals}. {costs}: 0.2 at layer 1, 0.2 at layer 2, 0.02 at layer 3, 0.2 at layer 4, 1.68 at layer 5, "
            "0.2 at layer 6. At layer 5 it is worse than at layer 3 in 100% of the resamples, so Stage II starts at "
            "layer 3.",
        ),
    ],
)
def test_the_evidence_states_what_was_compared(drops: dict[str, list[float]], evidence: str) -> None:
    found = decide_stages(FLAT, text(2), kl(5), surface(**drops)).stages.evidence["aggregation_start"]
    assert found == evidence.format(
        signals="the text entropy says layer 2, the KL curve says layer 5",
        costs="Marginal utility of pruning, nats a token for the whole prefill saved",
    )


def test_the_visual_peak_is_a_candidate_too() -> None:
    peaked = corners(LAYERS, (0, 1.0), (4, 3.0), (12, 1.0), (LAYERS, 1.0))
    found = decide_stages(peaked, text(2), np.full(LAYERS, 0.5), surface(l2=DEAR, l4=CHEAP))
    assert found.candidates == {"text": 2, "visual": 4}
    assert found.stages.aggregation_start == 4
    assert "the visual entropy's early peak says layer 4" in found.stages.evidence["aggregation_start"]


def test_where_nothing_was_measured_the_later_of_text_and_kl_counts() -> None:
    found = decide_stages(SATURATED, text(2), kl(5), None)
    assert found.candidates == {"text": 2, "kl": 5, "visual": 1}
    assert found.stages == detect_stages(SATURATED, text(2), kl(5))
    assert found.stages.aggregation_start == 5


def test_a_candidate_outside_the_grid_leaves_it_to_the_curves() -> None:
    whole = surface(l2=CHEAP, l5=DEAR)
    cut = UtilitySurface((1, 2, 3), (0.5,), whole.saved[:3], whole.drops[:3], whole.agrees[:3])
    assert decide_stages(FLAT, text(2), kl(5), whole).stages.aggregation_start == 2
    assert decide_stages(FLAT, text(2), kl(5), cut).stages == detect_stages(FLAT, text(2), kl(5))


def test_constant_curves_name_no_layer() -> None:
    found = decide_stages(FLAT, FLAT, np.full(LAYERS, 0.5), surface())
    assert found.candidates == {}
    assert (found.stages.aggregation_start, found.stages.saturation_start) == (1, None)
    assert "layer 1, the first possible, is assumed" in found.stages.evidence["aggregation_start"]


def test_stage_three_follows_wherever_stage_two_is_settled() -> None:
    """The visual curve has fallen by layer 3, while pruning is cheapest at layer 5."""
    early = corners(LAYERS, (0, 2.0), (1, 3.0), (3, 1.0), (LAYERS, 1.0))
    found = decide_stages(early, text(2), kl(5), surface(l1=DEAR, l2=DEAR)).stages
    assert (found.aggregation_start, found.saturation_start) == (5, 6)
    assert "Stage II starts no earlier" in found.evidence["saturation_start"]


@pytest.mark.parametrize(
    ("start", "layer", "evidence"),
    [
        (None, None, "The causes say so. The visual entropy alone says layer 9."),
        (12, 12, "The causes say so. The visual entropy alone says layer 9."),
        (
            3,
            6,
            "The causes say so. Stage II begins at layer 5, so Stage III follows it. "
            "The visual entropy alone says layer 9.",
        ),
    ],
)
def test_stage_three_begins_where_the_causes_put_it(start: int | None, layer: int | None, evidence: str) -> None:
    by_curves = decide_stages(SATURATED, text(2), kl(5), None)
    assert by_curves.stages.saturation_start == 9
    found = with_causes(by_curves, start, "The causes say so.")
    assert (found.stages.aggregation_start, found.stages.saturation_start) == (5, layer)
    assert found.stages.evidence["saturation_start"] == evidence
    assert found.stages.evidence["aggregation_start"] == by_curves.stages.evidence["aggregation_start"]


def test_causes_are_set_beside_curves_that_show_no_stage_three() -> None:
    found = with_causes(decide_stages(FLAT, text(2), kl(5), None), 8, "The causes say so.")
    assert found.stages.saturation_start == 8
    said = "The causes say so. The visual entropy alone says no Stage III."
    assert found.stages.evidence["saturation_start"] == said


@given(
    second=st.integers(1, 6),
    third=st.integers(1, 6),
    fall=st.integers(2, LAYERS - 1),
    drops=st.lists(st.lists(st.floats(0, 2), min_size=4, max_size=4), min_size=6, max_size=6),
)
def test_the_stages_are_in_order_and_inside_the_model(
    second: int, third: int, fall: int, drops: list[list[float]]
) -> None:
    visual = corners(LAYERS, (0, 2.0), (1, 3.0), (fall, 1.0), (LAYERS, 1.0))
    measured = surface(**{f"l{layer}": row for layer, row in enumerate(drops, 1)})
    found = decide_stages(visual, text(second), kl(third), measured)
    start, end = found.stages.aggregation_start, found.stages.saturation_start
    assert start in measured.layers
    assert end is None or start < end < LAYERS
