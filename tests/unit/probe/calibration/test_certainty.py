"""Sentences about how certain a profile is."""

import pytest

from halfv_core.profile import Profile
from halfv_core.records import BoundaryUncertainty, SaturationType, Winner
from probe.calibration.certainty import certainty, curves_and_causes, decisive_curve, interval_label
from tests import profiles, proven_profiles


def test_a_profile_without_uncertainty_has_no_sentences() -> None:
    assert certainty(profiles.unsaturated()) == []


def test_no_stage_three_has_an_interval_too() -> None:
    wins = (Winner(layer=10, share=0.3), Winner(layer=None, share=0.7))
    third = BoundaryUncertainty(low=10, median=None, high=None, wins=wins)
    sure = profiles.uncertainty().model_copy(update={"saturation_start": third})
    sentences = certainty(profiles.unsaturated().model_copy(update={"uncertainty": sure}))
    assert sentences[1] == (
        "There is no Stage III (90% interval 10–none, wins 70% of 200 resamples; layer 10 wins 30%)."
    )
    assert sentences[2:] == ["80 samples were enough."]


def test_intervals() -> None:
    assert [interval_label(4, 6), interval_label(4, None), interval_label(None, None)] == ["4–6", "4–none", "none–none"]


def test_an_uncertain_type_comes_with_advice() -> None:
    profile = profiles.qwen_like()
    unsure = profile.model_copy(update={"saturation": profile.saturation.model_copy(update={"confidence": 0.63})})
    assert certainty(unsure)[2] == (
        "The tests of Stage III give token_sparsity in 63% of their resamples; more samples would settle the type."
    )
    assert "settle" not in " ".join(certainty(profile))


def test_a_plan_that_is_safe_by_chance_comes_with_advice() -> None:
    profile = profiles.qwen_like()
    lucky = profile.pruning_tests[-1].model_copy(update={"safe_share": 0.71})
    assert certainty(profile.model_copy(update={"pruning_tests": (lucky,)}))[3] == (
        "The plan is safe in 71% of the resamples of its test; look at the held-out samples, or calibrate on more."
    )


def test_what_is_proven_stands_for_the_resamples_of_the_plan() -> None:
    profile = proven_profiles.proven()
    lucky = tuple(test.model_copy(update={"safe_share": 0.71}) for test in profile.pruning_tests)
    sentences = certainty(profile.model_copy(update={"pruning_tests": lucky}))
    assert profile.causes is not None and profile.certificate is not None
    assert sentences[2:] == [
        "The entropy curve alone would begin Stage III at layer 15, but the interventions put it at layer 9 (interval "
        "2–9); the interventions decide.",
        profile.certificate.sentence,
        "80 samples were enough.",
    ]


def with_causes(proposed: int | None, type: SaturationType = "token_sparsity", layers: int = 28) -> Profile:
    """Few suffice from layer 9 [2, 9] on, freezing is safe from 21 [18, 21]; the entropy curve proposes a layer."""
    profile = proven_profiles.proven()
    assert profile.causes is not None
    return profile.model_copy(
        update={
            "causes": profile.causes.model_copy(update={"by_curves": proposed}),
            "saturation": profile.saturation.model_copy(update={"type": type}),
            "curves": profiles.build(layers, 2, 9, profile.plan, "none").curves,
        }
    )


@pytest.mark.parametrize(
    ("proposed", "type", "layers", "agree"),
    [
        (1, "token_sparsity", 28, True),  # 5 % of 28 layers is 1.4
        (0, "token_sparsity", 28, False),
        (10, "token_sparsity", 28, True),
        (11, "token_sparsity", 28, False),
        (11, "token_sparsity", 40, True),
        (None, "token_sparsity", 28, False),
        (17, "layer_inactivity", 28, True),
        (16, "layer_inactivity", 28, False),
        (9, "none", 28, False),
        (None, "none", 28, True),
    ],
)
def test_the_curves_agree_with_the_causes_within_a_layer_or_a_twentieth_of_the_depth(
    proposed: int | None, type: SaturationType, layers: int, agree: bool
) -> None:
    comparison = curves_and_causes(with_causes(proposed, type, layers))
    assert comparison is not None and comparison.agree == agree
    assert comparison.sentence.startswith("The entropy curve") and comparison.sentence.endswith(".")


def test_the_curves_are_not_compared_with_causes_that_were_not_found() -> None:
    assert curves_and_causes(profiles.qwen_like()) is None
    assert curves_and_causes(proven_profiles.not_needed()) is None


def test_dropping_decides_where_stage_three_begins_at_its_onset() -> None:
    few, drop = decisive_curve(with_causes(None)), with_causes(None)
    assert few is not None and few.treatment == "few"
    later = drop.model_copy(update={"stages": drop.stages.model_copy(update={"saturation_start": 21})})
    assert (found := decisive_curve(later)) is not None and found.treatment == "drop"
    assert decisive_curve(profiles.qwen_like()) is None
