"""Cautions: what a reader of a profile should know before trusting it, in plain words. Pure."""

from collections.abc import Iterator

from halfv_core.profile import Profile, PruningTest
from probe.calibration.certainty import SURE, confidences

IDLE = 0.01
"""KL in Stage III as a share of the curve's largest value, up to which the curve speaks of idle layers."""
ACTIVE = 0.1
"""The same share, from which on it speaks of active ones."""
FALL = 0.1
"""Agreement on samples kept apart may be this much lower than on those that the plan was chosen on."""


def cautions(profile: Profile) -> tuple[str, ...]:
    """One sentence each, what matters most first; none where there is nothing to say."""
    return tuple(_cautions(profile))


def _cautions(profile: Profile) -> Iterator[str]:
    failed = [check.name for check in profile.checks if not check.passed]
    if failed:
        yield f"Self-checks failed ({', '.join(failed)}): do not trust these numbers."
    yield from _held_out(profile)
    yield from _targets(profile)
    yield from _kl_against_tests(profile)
    for found in confidences(profile):
        if found.share < SURE:
            yield found.sentence
    if profile.uncertainty is not None and not profile.uncertainty.enough:
        yield profile.uncertainty.verdict
    yield from _utility(profile)
    for sentence in profile.provenance.dropped:
        yield f"Cut short by the budget: {sentence}"


def _held_out(profile: Profile) -> Iterator[str]:
    taken, unseen = _taken(profile), profile.expected.agreement
    if taken is not None and unseen is not None and unseen < taken.agreement - FALL:
        yield (
            f"The plan changes {1 - taken.agreement:.0%} of the answers that it was chosen on, but {1 - unseen:.0%} of "
            f"the {profile.expected.held_out} kept apart: calibrate on more samples, or keep more."
        )


def _targets(profile: Profile) -> Iterator[str]:
    taken, unseen = _taken(profile), profile.expected.agreement
    if taken is None:
        return
    resolved = profile.provenance.arguments_resolved
    wanted, least = resolved.get("target_retention"), resolved.get("target_flops")
    kept = taken.agreement if unseen is None else min(unseen, taken.agreement)
    if not profile.plan.interventions and len(profile.pruning_tests) > 1:
        yield "Every plan that was tried and saves anything changes too many answers, so this one changes nothing."
    if isinstance(wanted, float) and kept < wanted:
        yield f"No plan that was tried keeps {wanted:.0%} of the answers; the one taken changes least."
    if isinstance(least, float) and taken.flops_ratio < least:
        yield f"No plan that was tried reaches {least:g}x fewer FLOPs; the one taken comes closest."


def _taken(profile: Profile) -> PruningTest | None:
    return next((test for test in profile.pruning_tests if test.plan == profile.plan), None)


def _kl_against_tests(profile: Profile) -> Iterator[str]:
    start, kl = profile.stages.saturation_start, profile.curves.kl.mean
    freezing = next((test for test in profile.saturation.tests if test.treatment == "layer_inactivity"), None)
    if start is None:
        safe = [test.plan.first_layer for test in profile.saturation.grid if test.safe]
        if safe:
            yield (
                f"The curves show no Stage III, but from layer {min(safe)} on a treatment of Stage III would have "
                "been safe; nothing is done there."
            )
        return
    if freezing is None or max(kl) == 0:
        return
    share = max(kl[start:]) / max(kl)
    if share <= IDLE and not freezing.safe:
        yield (
            f"The KL curve says that layers from {start} on are idle (at most {share:.1%} of its peak), but freezing "
            "them changes answers; the test was believed."
        )
    if share >= ACTIVE and freezing.safe:
        yield (
            f"The KL curve says that layers from {start} on are active (up to {share:.0%} of its peak), but freezing "
            "them all changes few answers; the test was believed."
        )


def _utility(profile: Profile) -> Iterator[str]:
    surface, start = profile.utility, profile.stages.aggregation_start
    if surface is None or start not in surface.layers:
        return
    means = [sum(row) / len(row) for row in surface.utility]
    best = surface.layers[means.index(min(means))]
    here = means[surface.layers.index(start)]
    if best > start and min(means) < 0.5 * here:
        yield (
            f"Pruning costs least for what it saves at layer {best} ({min(means):.3g} nats a token, against {here:.3g} "
            f"at layer {start}), later than the signals put Stage II; --target-retention tries later layers too."
        )
