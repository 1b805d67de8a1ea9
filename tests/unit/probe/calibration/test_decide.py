"""The start of Stage II when signals agree, when they differ, and when marginal utility was not measured there."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe.analyzers.marginal_utility import UtilitySurface
from probe.calibration.decide import decide_stages
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


def test_signals_that_agree_are_the_curves_own_rule() -> None:
    found = decide_stages(FLAT, text(3), kl(3), surface(l3=DEAR))
    assert found.candidates == {"text": 3, "kl": 3}
    assert found.stages == detect_stages(FLAT, text(3), kl(3))
    assert found.stages.aggregation_start == 3


@pytest.mark.parametrize(
    ("drops", "layer"),
    [({}, 5), ({"l2": DEAR}, 5), ({"l5": DEAR}, 2), ({"l5": [0.05, 0.3, 0.1, 0.0, 0.15]}, 5)],
    ids=["all alike", "the earlier costs more", "the later costs more", "the later costs more by chance"],
)
def test_the_later_of_text_and_kl_counts_unless_pruning_there_clearly_costs_more(
    drops: dict[str, list[float]], layer: int
) -> None:
    found = decide_stages(FLAT, text(2), kl(5), surface(**drops))
    assert found.candidates == {"text": 2, "kl": 5}
    assert found.stages.aggregation_start == layer


@pytest.mark.parametrize(
    ("drops", "ending"),
    [
        (
            {"l2": DEAR},
            "1.68 at layer 2, 0.2 at layer 5. It does not speak against layer 5, the later of text and KL.",
        ),
        (
            {"l5": DEAR},
            "0.2 at layer 2, 1.68 at layer 5. At layer 5 it is worse than at layer 2 in 100% of the resamples, so "
            "Stage II starts at layer 2.",
        ),
    ],
)
def test_the_evidence_states_what_was_compared(drops: dict[str, list[float]], ending: str) -> None:
    evidence = decide_stages(FLAT, text(2), kl(5), surface(**drops)).stages.evidence["aggregation_start"]
    assert evidence == (
        "Signals differ: the text entropy says layer 2, the KL curve says layer 5. Marginal utility of pruning, nats a "
        f"token for the whole prefill saved: {ending}"
    )


def test_a_layer_that_no_signal_proposes_is_never_chosen() -> None:
    assert decide_stages(FLAT, text(2), kl(5), surface(l3=CHEAP, l5=DEAR)).stages.aggregation_start == 2


def test_the_visual_peak_is_a_candidate_too() -> None:
    peaked = corners(LAYERS, (0, 1.0), (4, 3.0), (12, 1.0), (LAYERS, 1.0))
    found = decide_stages(peaked, text(2), np.full(LAYERS, 0.5), surface(l2=DEAR))
    assert found.candidates == {"text": 2, "visual": 4}
    assert found.stages.aggregation_start == 4
    assert "the visual entropy's early peak says layer 4" in found.stages.evidence["aggregation_start"]


def test_where_nothing_was_measured_the_later_of_text_and_kl_counts() -> None:
    found = decide_stages(SATURATED, text(2), kl(5), None)
    assert found.candidates == {"text": 2, "kl": 5, "visual": 1}
    assert found.stages == detect_stages(SATURATED, text(2), kl(5))
    assert found.stages.aggregation_start == 5


def test_a_candidate_outside_the_grid_leaves_it_to_the_curves() -> None:
    whole = surface(l5=DEAR)
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
    assert start in found.candidates.values()
    assert end is None or start < end < LAYERS
