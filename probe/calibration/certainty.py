"""How sure a profile is of itself, in words, for the report and the command line."""

from typing import NamedTuple

from halfv_core.profile import Profile
from halfv_core.records import BoundaryUncertainty

SURE = 0.9
"""Confidence from which on no advice is given."""


def certainty(profile: Profile) -> list[str]:
    """How sure the profile is of itself, a sentence each: both boundaries, the type, the plan, the number of samples.

    What the profile does not say is left out.
    """
    said: list[str] = []
    found = profile.uncertainty
    if found is not None:
        stages = profile.stages
        second = _boundary("II", stages.aggregation_start, found.aggregation_start, found.resamples)
        third = _boundary("III", stages.saturation_start, found.saturation_start, found.resamples)
        said += [second, third]
    said += [confidence.sentence for confidence in confidences(profile)]
    if found is not None:
        said.append(found.verdict)
    return said


class Confidence(NamedTuple):
    """In what share of the resamples a test says what it says."""

    share: float
    sentence: str


def confidences(profile: Profile) -> list[Confidence]:
    """Of the saturation type, and of the plan, as far as the profile knows them."""
    found, kind = [], profile.saturation
    if kind.confidence is not None:
        remedy = "" if kind.confidence >= SURE else "; more samples would settle the type"
        said = f"The tests of Stage III give {kind.type} in {kind.confidence:.0%} of their resamples{remedy}."
        found.append(Confidence(kind.confidence, said))
    tried = (test.safe_share for test in profile.pruning_tests if test.plan == profile.plan)
    if (safe := next((share for share in tried if share is not None), None)) is not None:
        remedy = "" if safe >= SURE else "; look at the held-out samples, or calibrate on more"
        found.append(Confidence(safe, f"The plan is safe in {safe:.0%} of the resamples of its test{remedy}."))
    return found


def beside_certainty(profile: Profile) -> list[str]:
    """The profile's cautions that `certainty` does not say already."""
    said = certainty(profile)
    return [caution for caution in profile.cautions if caution not in said]


def interval_label(low: int | None, high: int | None) -> str:
    """As in "4–6"; "none" stands for no such stage."""
    return f"{'none' if low is None else low}–{'none' if high is None else high}"


def _boundary(numeral: str, layer: int | None, found: BoundaryUncertainty, resamples: int) -> str:
    begins = f"There is no Stage {numeral}" if layer is None else f"Stage {numeral} begins at layer {layer}"
    share = sum(winner.share for winner in found.wins if winner.layer == layer)
    others = [winner for winner in found.wins if winner.layer != layer]
    said = f"{begins} (90% interval {interval_label(found.low, found.high)}, wins {share:.0%} of {resamples} resamples"
    if others:
        best = max(others, key=lambda winner: winner.share)
        said += f"; {'none' if best.layer is None else f'layer {best.layer}'} wins {best.share:.0%}"
    return f"{said})."
