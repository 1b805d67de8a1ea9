"""How certain a profile is, in sentences for the report and the command line."""

from typing import NamedTuple

from halfv_core.profile import Profile, PruningTest
from halfv_core.records import BoundaryUncertainty, CausalCurve, CausalTreatment, SaturationType

CONFIDENT = 0.9
"""Confidence from which on no advice is given."""
MIN_TOLERANCE, TOLERANCE = 1, 0.05
"""The curves agree with an onset's interval up to so many layers, or this share of the depth if that is more."""
TREATMENTS: dict[SaturationType, tuple[CausalTreatment, ...]] = {
    "layer_inactivity": ("freeze",),
    "token_sparsity": ("few", "drop"),
    "none": (),
}
"""Saturation type -> the treatments of later layers that it is decided by."""


def certainty(profile: Profile) -> list[str]:
    """Describe how certain the profile is: boundaries, whether curves and causes agree, type, plan, number of samples.

    Quantities that the profile does not record are left out.
    """
    sentences: list[str] = []
    uncertainty = profile.uncertainty
    if uncertainty is not None:
        stages = profile.stages
        stage_two = _boundary("II", stages.aggregation_start, uncertainty.aggregation_start, uncertainty.resamples)
        stage_three = _boundary("III", stages.saturation_start, uncertainty.saturation_start, uncertainty.resamples)
        sentences += [stage_two, stage_three]
    if (comparison := curves_and_causes(profile)) is not None and profile.causes is not None:
        sentences.append(comparison.sentence)
    sentences += [confidence.sentence for confidence in confidences(profile)]
    if profile.certificate is not None:
        sentences.append(profile.certificate.sentence)
    if uncertainty is not None:
        sentences.append(uncertainty.verdict)
    return sentences


class Comparison(NamedTuple):
    """Whether the entropy curve and the interventions begin Stage III at the same place."""

    agree: bool
    sentence: str


def curves_and_causes(profile: Profile) -> Comparison | None:
    """Compare the layer that the entropy curve proposes with the interval of the onset; None if there is no onset."""
    causes = profile.causes
    if causes is None or causes.verdict != "measured":
        return None
    proposed, curve = causes.by_curves, decisive_curve(profile)
    alone = f"The entropy curve alone would begin Stage III at layer {proposed}"
    if curve is None or curve.onset is None:
        if proposed is None:
            return Comparison(True, "The entropy curve shows no Stage III either.")
        return Comparison(False, f"{alone}, but no treatment is proven to be safe there; the interventions decide.")
    low = curve.onset if curve.earliest is None else curve.earliest
    found = f"the interventions put it at {_layers(low, curve.onset)}"
    if proposed is None:
        return Comparison(False, f"The entropy curve shows no Stage III, but {found}; the interventions decide.")
    tolerance = max(MIN_TOLERANCE, TOLERANCE * profile.layers)
    if low - tolerance <= proposed <= curve.onset + tolerance:
        return Comparison(True, f"{alone}, which agrees with the interventions.")
    return Comparison(False, f"{alone}, but {found}; the interventions decide.")


def decisive_curve(profile: Profile) -> CausalCurve | None:
    """The causal curve that the saturation type is decided by; None if no treatment has an onset."""
    if profile.causes is None:
        return None
    treatments = TREATMENTS[profile.saturation.type]
    found = [curve for curve in profile.causes.curves if curve.treatment in treatments and curve.onset is not None]
    found.sort(key=lambda curve: (curve.onset != profile.stages.saturation_start, treatments.index(curve.treatment)))
    return found[0] if found else None


def chosen_test(profile: Profile) -> PruningTest | None:
    """The test of the profile's own plan; None if it was not tried."""
    return next((test for test in profile.pruning_tests if test.plan == profile.plan), None)


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
    safe_share = next((share for share in safe_shares if share is not None), None)
    if safe_share is not None and profile.certificate is None:
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


def _layers(low: int, high: int) -> str:
    return f"layer {high}" if low == high else f"layer {high} (interval {interval_label(low, high)})"


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
