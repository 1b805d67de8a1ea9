"""Comparisons of profiles: with themselves, within intervals, and across models."""

import numpy as np
import pytest

from halfv_core.plan import Freeze, Keep, Plan
from halfv_core.profile import Curve, Profile
from halfv_core.records import BoundaryUncertainty, Winner
from probe.calibration.compare import compare, keep_ratio, verdict
from tests import profiles

PROFILES = [profiles.qwen_like, profiles.llava_like, profiles.unsaturated]


def with_stage_three(profile: Profile, saturation: int | None, low: int | None, high: int | None) -> Profile:
    """Replace Stage III and its interval."""
    third = BoundaryUncertainty(low=low, median=saturation, high=high, wins=(Winner(layer=saturation, share=1.0),))
    sure = profiles.uncertainty().model_copy(update={"saturation_start": third})
    stages = profile.stages.model_copy(update={"saturation_start": saturation})
    return profile.model_copy(update={"stages": stages, "uncertainty": sure})


def with_visual(profile: Profile, mean: list[float], std: list[float]) -> Profile:
    curves = profile.curves.model_copy(update={"visual": Curve(mean=tuple(mean), std=tuple(std))})
    return profile.model_copy(update={"curves": curves})


@pytest.mark.parametrize("make", PROFILES)
def test_a_profile_agrees_with_itself(make: type[Profile]) -> None:
    found = compare(make(), make())
    assert found.agree and found.same_model and found.same_plan and found.differs == {}
    assert verdict(found).startswith("The profiles agree: Stage II begins at layer ")
    assert [(curve.mean, curve.largest) for curve in found.curves] == [(0.0, 0.0)] * 4
    assert [curve.rank_correlation for curve in found.curves] == pytest.approx([1.0] * 4)
    assert all(number.a == number.b for number in found.expected)


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        ((21, 20, 21), (20, 20, 22), True),
        ((21, 21, 21), (20, 20, 22), False),
        ((21, 20, 21), (22, 20, 22), False),
        ((21, 21, 21), (21, 22, 23), True),
        ((21, 20, None), (None, 21, None), True),
        ((21, 20, 21), (None, 21, None), False),
        ((None, None, None), (None, 20, None), True),
        ((27, 27, 27), (None, None, None), False),
    ],
)
def test_boundaries_agree_when_equal_or_each_in_the_interval_of_the_other(
    one: tuple[int | None, ...], other: tuple[int | None, ...], agree: bool
) -> None:
    """Each boundary is given as layer, low and high; None stands for no Stage III."""
    base = profiles.qwen_like()
    a, b = with_stage_three(base, *one), with_stage_three(base, *other)
    assert compare(a, b).boundaries[1].agree == compare(b, a).boundaries[1].agree == agree


def test_without_intervals_only_equal_layers_agree() -> None:
    one, other = (profiles.build(12, 4, start, Plan(()), "none") for start in (5, 6))
    found = compare(one, other)
    assert (found.boundaries[0].agree, found.boundaries[1].agree, found.agree) == (True, False, False)
    assert verdict(found) == (
        "The profiles disagree: Stage III begins at layer 5 in A and at layer 6 in B (90% intervals 5–5 and 6–6)."
    )


def other_model(profile: Profile) -> Profile:
    where = profile.provenance.model_copy(update={"config_fingerprint": "00" * 32, "model_id": "other"})
    return profile.model_copy(update={"provenance": where})


@pytest.mark.parametrize(("start", "agree"), [(8, False), (10, True), (13, False)])
def test_models_of_different_depth_are_compared_by_relative_depth(start: int, agree: bool) -> None:
    one = profiles.build(12, 4, 5, Plan(()), "none")
    other = other_model(profiles.build(24, 8, start, Plan(()), "none"))
    found = compare(one, other)
    assert not found.same_model
    assert [pair.agree for pair in found.boundaries] == [True, agree]
    assert verdict(found).endswith("They are of different models, so layers were compared as shares of the depth.")
    assert found.differs["layers"] == (12, 24)
    assert all(curve.mean is not None and curve.rank_correlation is not None for curve in found.curves)


def test_the_type_counts_too_and_the_plan_does_not() -> None:
    keep = Keep(layer=4, keep_ratio=0.5)
    base = profiles.build(12, 4, 5, Plan((keep, Freeze(layers=range(5, 12)))), "layer_inactivity")
    kind = compare(base, profiles.build(12, 4, 5, base.plan, "none"))
    assert not kind.agree and kind.same_plan
    assert verdict(kind) == ("The profiles disagree: the saturation type is layer_inactivity in A and none in B.")
    ratio = compare(base, base.model_copy(update={"plan": Plan((Freeze(layers=range(5, 12)),))}))
    assert ratio.agree and not ratio.same_plan
    assert ratio.keep_ratios == (0.5, 1.0)
    assert "kept" not in verdict(ratio)


def test_the_share_kept_at_stage_two_is_not_that_of_stage_three() -> None:
    assert [keep_ratio(make()) for make in PROFILES] == [0.25, 0.5, 0.5]


def test_what_the_calibrations_did_not_share_is_named() -> None:
    base = profiles.qwen_like()
    settings = base.provenance.arguments_resolved | {"entropy_k": 4, "examples": 0, "budget": None}
    where = base.provenance.model_copy(
        update={"dtype": "bfloat16", "sample_ids": ("a", "b"), "arguments_resolved": settings}
    )
    found = compare(base, base.model_copy(update={"provenance": where}))
    assert found.differs == {
        "samples": (80, 2),
        "dtype": ("float32", "bfloat16"),
        "setting entropy_k": (50, 4),
    }
    assert found.agree and found.same_model


def test_the_samples_of_the_kl_curve_are_compared_by_what_was_measured() -> None:
    """An older profile does not have the setting, and measured KL on all samples."""
    base = profiles.qwen_like()
    settings = base.provenance.arguments_resolved | {"kl_samples": 16}
    newer = base.model_copy(
        update={
            "curves": base.curves.model_copy(update={"kl_samples": 16}),
            "provenance": base.provenance.model_copy(update={"arguments_resolved": settings}),
        }
    )
    assert compare(base, newer).differs == {"samples with a KL curve": ("all", 16)}


def test_curve_distances_are_in_standard_deviations() -> None:
    points = 29
    mean, base = [float(index) for index in range(points)], profiles.qwen_like()
    one = with_visual(base, mean, [3.0] * points)
    other = with_visual(base, [value + 5.0 for value in mean[:-1]] + [mean[-1] + 10.0], [4.0] * points)
    found = compare(one, other).curves[0]
    pooled = np.sqrt((3.0**2 + 4.0**2) / 2)
    assert found.mean == pytest.approx((28 * 5 + 10) / points / pooled)
    assert found.largest == pytest.approx(10 / pooled)
    assert found.rank_correlation == pytest.approx(1.0)
    reverse = with_visual(base, mean[::-1], [3.0] * points)
    assert compare(one, reverse).curves[0].rank_correlation == pytest.approx(-1.0)


def test_curves_of_half_the_depth_are_read_between_their_points() -> None:
    short = with_visual(profiles.build(12, 4, 5, Plan(()), "none"), [2.0 * index for index in range(13)], [1.0] * 13)
    deep = with_visual(profiles.build(24, 8, 10, Plan(()), "none"), [float(index) for index in range(25)], [1.0] * 25)
    assert compare(short, deep).curves[0].largest == pytest.approx(0.0, abs=1e-12)


def test_curves_without_spread_have_no_distance_unless_they_are_the_same() -> None:
    base = profiles.qwen_like()
    flat, higher = (with_visual(base, [level] * 29, [0.0] * 29) for level in (1.0, 2.0))
    same, apart = compare(flat, flat).curves[0], compare(flat, higher).curves[0]
    assert (same.mean, same.largest, same.rank_correlation) == (0.0, 0.0, None)
    assert (apart.mean, apart.largest) == (None, None)
