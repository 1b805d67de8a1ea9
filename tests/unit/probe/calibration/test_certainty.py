"""Sentences about how certain a profile is."""

from halfv_core.records import BoundaryUncertainty, Winner
from probe.calibration.certainty import certainty, interval_label
from tests import profiles


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
