"""What follows from causal curves: verdicts, the treatment that saves most at its own onset, and what is said."""

import math

import numpy as np
import pytest

from halfv_core.cost import cost_of, tokens_by_layer
from halfv_core.records import CausalTreatment
from probe.analyzers.causal_curves import TREATMENTS, Array, CausalLosses, treatment_plan
from probe.calibration.causes import MIN_CONTROL, MIN_SAMPLES, CausalEvidence, StageThreeStart
from probe.trials.readings import Quality, Readings
from tests.candidates import TEXT, VISUAL, shape_of

LAYERS, FEW = 12, 0.05
STARTS = (1, 4, 8, 11)

Onsets = dict[CausalTreatment, int | None]


def evidence(
    control: Array, lost: dict[CausalTreatment, list[float]], starts: tuple[int, ...] = STARTS, layers: int = LAYERS
) -> CausalEvidence:
    """Treatments that lose these shares of what the picture gives, by layer, in every sample."""
    losses = CausalLosses(starts, FEW, {name: np.outer(lost[name], control) for name in TREATMENTS}, control)
    count = 1 + len(TREATMENTS) * len(starts)
    readings = [Readings((True, False), (0.01 * place, 0.03 * place)) for place in range(count)]
    return CausalEvidence.of(losses, readings, shape_of(layers), (VISUAL, TEXT))


def harmless_from(onsets: Onsets, samples: int = 300, control: float = 0.8) -> CausalEvidence:
    """Treatments that lose half of it before a layer, and nothing from there on."""
    lost = {
        name: [0.0 if onset is not None and layer >= onset else 0.5 for layer in STARTS]
        for name, onset in onsets.items()
    }
    return evidence(np.full(samples, control), lost)


def test_each_treatment_has_its_plan_quality_and_price() -> None:
    found = harmless_from({"freeze": 1, "few": 1, "drop": 1})
    place = 1  # the control comes first
    for name in TREATMENTS:
        for layer in STARTS:
            tried = found.tried[name, layer]
            assert tried.plan == treatment_plan(name, layer, LAYERS, FEW)
            assert tried.quality == Quality(0.5, pytest.approx(0.02 * place))
            rows = tokens_by_layer(tried.plan, LAYERS, VISUAL, TEXT)
            assert tried.flops_ratio == cost_of(shape_of(LAYERS), rows).flops_ratio
            place += 1


@pytest.mark.parametrize(
    ("freeze", "few", "start", "kind"),
    [
        (4, None, StageThreeStart(4, "freeze"), "layer_inactivity"),
        (None, 8, StageThreeStart(8, "few"), "token_sparsity"),
        (11, 4, StageThreeStart(4, "few"), "token_sparsity"),
        (4, 8, StageThreeStart(4, "freeze"), "layer_inactivity"),
        (None, None, None, "none"),
    ],
)
def test_stage_three_begins_where_the_treatment_that_saves_most_does(
    freeze: int | None, few: int | None, start: StageThreeStart | None, kind: str
) -> None:
    found = harmless_from({"freeze": freeze, "few": few, "drop": None})
    assert found.is_conclusive and found.picture_needed
    assert found.start() == start
    saturation = found.saturation(by_curves=8, seed=0)
    assert (saturation.type, saturation.confidence) == (kind, 1.0)  # samples are alike, and so are resamples
    record = found.record(by_curves=8)
    assert [curve.onset for curve in record.curves] == [freeze, few, None]


def test_the_earlier_onset_loses_to_the_one_that_saves_more() -> None:
    """Frozen tokens still cost keys, values and attention; in a deep decoder that is more than one layer of all."""
    control = np.full(300, 0.8)
    lost: dict[CausalTreatment, list[float]] = {"freeze": [0.0, 0.0], "few": [0.5, 0.0], "drop": [0.5, 0.5]}
    found = evidence(control, lost, starts=(1, 2), layers=40)
    freeze, few = found.tried["freeze", 1].flops_ratio, found.tried["few", 2].flops_ratio
    assert freeze < few and found.start() == StageThreeStart(2, "few")
    assert found.saturation(None, 0).reason == (
        f"Freezing visual tokens is proven harmless from layer 1 on and saves {freeze:.2f}x alone, keeping few of them "
        f"is proven harmless from layer 2 on and saves {few:.2f}x alone: from layer 2 on, of what the picture gives to "
        "the answers, freezing visual tokens leaves 100.0%; keeping few of them leaves 100.0%."
    )


def test_further_layers_make_an_onset_exact() -> None:
    found = harmless_from({"freeze": 8, "few": None, "drop": None})
    assert found.between() == (5, 6, 7)
    control = found.losses.control
    further = evidence(control, {"freeze": [0.5, 0.0, 0.0], "few": [0.5] * 3, "drop": [0.5] * 3}, (5, 6, 7))
    joined = found.joined(further)
    assert joined.losses.layers == (1, 4, 5, 6, 7, 8, 11)
    assert joined.start() == StageThreeStart(6, "freeze") and joined.between() == ()
    assert joined.tried["freeze", 6] == further.tried["freeze", 6]
    assert joined.tried["few", 11] == found.tried["few", 11]
    assert [curve.flops_ratio for curve in joined.record(None).curves] == [
        further.tried["freeze", 6].flops_ratio,
        None,
        None,
    ]


@pytest.mark.parametrize(("samples", "control"), [(5, 0.8), (300, MIN_CONTROL / 2)])
def test_no_further_layers_where_nothing_can_be_said(samples: int, control: float) -> None:
    assert harmless_from({"freeze": 8, "few": 8, "drop": 8}, samples, control).between() == ()


def test_dropping_all_tokens_is_no_treatment_of_stage_three() -> None:
    found = harmless_from({"freeze": None, "few": None, "drop": 4})
    assert found.start() is None and found.record(None).curves[2].onset == 4


def test_the_drawn_samples_decide_in_a_resample() -> None:
    control = np.array([0.8] * 200)
    found = harmless_from({"freeze": 4, "few": None, "drop": None}, samples=200)
    table = found.losses.losses["freeze"].copy()
    table[1:3, :100] = 0.5  # half of the samples suffer before layer 11
    losses = found.losses._replace(losses=dict(found.losses.losses) | {"freeze": table}, control=control)
    mixed = found._replace(losses=losses)
    assert mixed.start(range(100, 200)) == StageThreeStart(4, "freeze")
    assert mixed.start(range(100)) == mixed.start() == StageThreeStart(11, "freeze")


@pytest.mark.parametrize("samples", [MIN_SAMPLES, 300])
def test_questions_that_do_not_need_the_picture(samples: int) -> None:
    found = harmless_from({"freeze": 1, "few": 1, "drop": 1}, samples, MIN_CONTROL / 2)
    assert not found.picture_needed and not found.is_conclusive
    record = found.record(by_curves=8)
    assert (record.verdict, record.control, record.samples) == ("picture_not_needed", pytest.approx(0.1), samples)
    assert found.sentence == (
        "These questions do not need the picture: without any visual token, the answers keep 90% of their likelihood. "
        "Nothing about visual tokens can be learnt from them."
    )
    assert record.sentence == found.sentence
    saturation = found.saturation(by_curves=8, seed=0)
    assert saturation.type == "none"
    assert (
        saturation.reason
        == "The questions do not need the picture, so no treatment of Stage III can be judged by them."
    )


@pytest.mark.parametrize(("samples", "control"), [(MIN_SAMPLES - 1, 0.0), (3, 0.8), (20, 0.8)])
def test_too_few_samples_to_prove_anything(samples: int, control: float) -> None:
    found = harmless_from({"freeze": 4, "few": 8, "drop": 11}, samples, control)
    assert found.picture_needed and not found.is_conclusive
    assert found.record(None).verdict == "too_few_samples"
    assert found.sentence.startswith(f"{samples} samples cannot show from which layer on visual tokens are idle; ")


def test_with_too_few_samples_the_curves_say_where_and_the_means_say_what() -> None:
    found = harmless_from({"freeze": None, "few": 4, "drop": None}, samples=5)
    saturation = found.saturation(by_curves=4, seed=0)
    assert (saturation.type, saturation.confidence) == ("token_sparsity", 1.0)
    freeze, few = saturation.tests
    assert (freeze.safe, few.safe) == (False, True)
    assert (freeze.use_kept, few.use_kept) == (pytest.approx(0.5), pytest.approx(1.0))
    assert saturation.reason.startswith("By the mean over the samples, from layer 4 on, ")
    assert found.saturation(by_curves=1, seed=0).type == "none"
    assert (
        found.saturation(by_curves=None, seed=0).reason
        == "The curves show no Stage III, and these samples cannot show one."
    )


def test_freezing_is_preferred_where_both_seem_harmless_to_few_samples() -> None:
    found = harmless_from({"freeze": 4, "few": 4, "drop": None}, samples=5)
    assert found.saturation(by_curves=4, seed=0).type == "layer_inactivity"


def test_one_layer_alone_shows_no_onset() -> None:
    """A budget may leave no time for others."""
    found = evidence(np.full(300, 0.8), dict.fromkeys(TREATMENTS, [0.0]), starts=(8,))
    assert not found.is_conclusive and found.record(8).verdict == "too_few_samples"
    assert found.saturation(by_curves=8, seed=0).type == "layer_inactivity"


def test_none_is_measured() -> None:
    found = harmless_from({"freeze": None, "few": None, "drop": None})
    record = found.record(by_curves=8)
    assert record.verdict == "measured"
    assert [(curve.onset, curve.earliest, curve.flops_ratio) for curve in record.curves] == [(None, None, None)] * 3
    saturation = found.saturation(by_curves=8, seed=0)
    assert (saturation.type, saturation.tests) == ("none", ())
    assert saturation.reason == (
        "Neither freezing visual tokens nor keeping few of them is proven harmless from any layer on."
    )


def test_the_record_holds_the_curves() -> None:
    found = harmless_from({"freeze": 8, "few": 4, "drop": 11})
    record = found.record(by_curves=None)
    assert (record.layers, record.few, record.level, record.confidence, record.by_curves) == (
        STARTS,
        FEW,
        0.9,
        0.9,
        None,
    )
    for curve, name in zip(record.curves, TREATMENTS, strict=True):
        assert curve.treatment == name
        assert curve.loss == pytest.approx(found.losses.losses[name].mean(1))
        assert curve.use_kept == pytest.approx(found.losses.use_kept(name))
        assert curve.onset is not None and curve.flops_ratio == found.tried[name, curve.onset].flops_ratio
    assert record.sentence == (
        "Freezing visual tokens is harmless from layer 8 on, keeping few of them is harmless from layer 4 on, and "
        "dropping all of them is harmless from layer 11 on."
    )


def test_an_onset_that_may_be_earlier_is_said() -> None:
    generator = np.random.default_rng(0)
    control = generator.uniform(0.6, 1.0, 120)
    spoilt = generator.random((4, 120)) < np.array([0.5, 0.09, 0.0, 0.0])[:, None]
    losses = CausalLosses(STARTS, FEW, dict.fromkeys(TREATMENTS, spoilt * control), control)
    found = harmless_from({"freeze": 1, "few": 1, "drop": 1})._replace(losses=losses)
    assert (losses.onset("few").layer, losses.onset("few").earliest) == (8, 4)
    assert found.sentence.startswith("Freezing visual tokens is harmless from layer 8 on (perhaps from 4), ")


def test_confidence_is_the_share_of_resamples_of_the_same_type() -> None:
    """Some resamples of samples that barely prove an onset do not."""
    generator = np.random.default_rng(1)
    control = generator.uniform(0.6, 1.0, 80)
    spoilt = generator.random((4, 80)) < np.array([0.5, 0.5, 0.5, 0.02])[:, None]
    tables = {"freeze": spoilt * control, "few": np.outer([0.5] * 4, control), "drop": np.outer([0.5] * 4, control)}
    found = harmless_from({"freeze": 1, "few": 1, "drop": 1})
    found = found._replace(losses=CausalLosses(STARTS, FEW, tables, control))  # type: ignore[arg-type]
    saturation = found.saturation(None, seed=0)
    assert saturation.type == "layer_inactivity" and saturation.confidence is not None
    assert 0.5 < saturation.confidence < 1.0 and math.isclose(saturation.confidence * 200 % 1, 0.0, abs_tol=1e-9)
