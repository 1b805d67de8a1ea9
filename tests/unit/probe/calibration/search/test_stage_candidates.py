"""The plans at the detected stages, compared with lists written by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfv_core.records import SaturationType, Stages
from probe.calibration.search.candidate import Candidate
from probe.calibration.search.stage_candidates import stage_candidates
from tests.candidates import form_of


def stages(aggregation: int, saturation: int | None) -> Stages:
    return Stages(aggregation_start=aggregation, saturation_start=saturation, evidence={})


def test_every_pruning_with_every_treatment_from_two_layers_on() -> None:
    found = stage_candidates(stages(2, 6), form_of(10, few=0.2), (0.5, 1.0, 0.1))
    treatments = [("freeze", 6), ("few", 6), ("freeze", 8), ("few", 8)]
    bold, mild = ((2, 0.1),), ((2, 0.5),)
    assert found == [
        Candidate(bold),
        Candidate(bold, ("freeze", 6)),  # after 0.1, keeping 0.2 has no effect
        Candidate(bold, ("freeze", 8)),
        Candidate(mild),
        *(Candidate(mild, treatment) for treatment in treatments),
        *(Candidate((), treatment) for treatment in treatments),
    ]


def test_without_stage_three_there_is_no_treatment() -> None:
    found = stage_candidates(stages(2, None), form_of(10), (0.25, 0.5))
    assert found == [Candidate(((2, 0.25),)), Candidate(((2, 0.5),))]


@pytest.mark.parametrize(
    ("only", "treatment"), [("layer_inactivity", ("freeze", 6)), ("token_sparsity", ("few", 6)), ("none", None)]
)
def test_one_type_alone(only: SaturationType, treatment: tuple[str, int] | None) -> None:
    found = stage_candidates(stages(2, 6), form_of(10), (0.25,), only)
    expected = [Candidate(((2, 0.25),), treatment)]  # type: ignore[arg-type]
    assert found == expected + ([] if treatment is None else [Candidate((), treatment)])  # type: ignore[arg-type]


@given(
    st.integers(2, 40).flatmap(lambda layers: st.tuples(st.just(layers), st.integers(1, layers - 1))),
    st.none() | st.integers(1, 39),
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=4),
    st.floats(0.01, 1.0),
    st.sampled_from([None, "none", "layer_inactivity", "token_sparsity"]),
)
def test_every_candidate_is_valid_does_something_and_comes_once(
    depth: tuple[int, int], later: int | None, ratios: list[float], few: float, only: SaturationType | None
) -> None:
    layers, start = depth
    after = None if later is None or start + later >= layers else start + later
    form = form_of(layers, few)
    found = stage_candidates(stages(start, after), form, ratios, only)
    assert len(set(found)) == len(found)
    for candidate in found:
        assert candidate.is_valid(form) and candidate.plan(form).interventions
        assert candidate.plan(form).first_layer >= start
        assert {layer for layer, _ in candidate.keeps} <= {start}
