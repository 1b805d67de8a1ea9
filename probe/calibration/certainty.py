"""How certain a profile is, in sentences for the report and the command line."""

from typing import NamedTuple

from halfv_core.profile import Profile
from halfv_core.records import BoundaryUncertainty

CONFIDENT = 0.9
"""Confidence from which on no advice is given."""


def certainty(profile: Profile) -> list[str]:
    """Describe how certain the profile is: one sentence each for both boundaries, type, plan and number of samples.

    Quantities that the profile does not record are left out.
    """
    sentences: list[str] = []
    uncertainty = profile.uncertainty
    if uncertainty is not None:
        stages = profile.stages
        stage_two = _boundary("II", stages.aggregation_start, uncertainty.aggregation_start, uncertainty.resamples)
        stage_three = _boundary("III", stages.saturation_start, uncertainty.saturation_start, uncertainty.resamples)
        sentences += [stage_two, stage_three]
    sentences += [confidence.sentence for confidence in confidences(profile)]
    if uncertainty is not None:
        sentences.append(uncertainty.verdict)
    return sentences


class Confidence(NamedTuple):
    """The share of resamples in which a test comes to the same conclusion."""

    share: float
    sentence: str


def confidences(profile: Profile) -> list[Confidence]:
    """Confidence in the saturation type and in the plan, where the profile records it."""
    results, saturation = [], profile.saturation
    if saturation.confidence is not None:
        remedy = "" if saturation.confidence >= CONFIDENT else "; more samples would settle the type"
        sentence = (
            f"The tests of Stage III give {saturation.type} in {saturation.confidence:.0%} of their resamples{remedy}."
        )
        results.append(Confidence(saturation.confidence, sentence))
    safe_shares = (test.safe_share for test in profile.pruning_tests if test.plan == profile.plan)
    if (safe_share := next((share for share in safe_shares if share is not None), None)) is not None:
        remedy = "" if safe_share >= CONFIDENT else "; look at the held-out samples, or calibrate on more"
        results.append(
            Confidence(safe_share, f"The plan is safe in {safe_share:.0%} of the resamples of its test{remedy}.")
        )
    return results


def remaining_cautions(profile: Profile) -> list[str]:
    """The profile's cautions that `certainty` does not already contain."""
    sentences = certainty(profile)
    return [caution for caution in profile.cautions if caution not in sentences]


def interval_label(low: int | None, high: int | None) -> str:
    """Format an interval, as in "4–6"; "none" stands for no such stage."""
    return f"{'none' if low is None else low}–{'none' if high is None else high}"


def _boundary(numeral: str, layer: int | None, uncertainty: BoundaryUncertainty, resamples: int) -> str:
    start = f"There is no Stage {numeral}" if layer is None else f"Stage {numeral} begins at layer {layer}"
    share = sum(winner.share for winner in uncertainty.wins if winner.layer == layer)
    others = [winner for winner in uncertainty.wins if winner.layer != layer]
    sentence = (
        f"{start} (90% interval {interval_label(uncertainty.low, uncertainty.high)}, "
        f"wins {share:.0%} of {resamples} resamples"
    )
    if others:
        runner_up = max(others, key=lambda winner: winner.share)
        sentence += f"; {'none' if runner_up.layer is None else f'layer {runner_up.layer}'} wins {runner_up.share:.0%}"
    return f"{sentence})."
