"""Cautions: what a reader should know before trusting a profile, in plain sentences."""

from collections.abc import Iterator

from halfv_core.methods import METHODS
from halfv_core.profile import Profile, PruningTest
from probe.calibration.certainty import CONFIDENT, confidences
from probe.calibration.sink_effect import SINK_GROUPS, sink_effect

IDLE_SHARE = 0.01
"""The KL curve suggests idle layers if its maximum in Stage III is at most this share of its overall maximum."""
ACTIVE_SHARE = 0.1
"""The KL curve suggests active layers if the same share is at least this."""
MAX_AGREEMENT_FALL = 0.1
"""Largest tolerated fall in agreement from the calibration samples to the held-out samples."""


def cautions(profile: Profile) -> tuple[str, ...]:
    """The cautions of a profile, one sentence each, the most important first; empty if there are none."""
    return tuple(_cautions(profile))


def _cautions(profile: Profile) -> Iterator[str]:
    failed = [check.name for check in profile.checks if not check.passed]
    if failed:
        yield f"Self-checks failed ({', '.join(failed)}): do not trust these numbers."
    yield from _held_out(profile)
    yield from _targets(profile)
    yield from _method(profile)
    yield from _kl_against_tests(profile)
    for confidence in confidences(profile):
        if confidence.share < CONFIDENT:
            yield confidence.sentence
    if profile.uncertainty is not None and not profile.uncertainty.enough:
        yield profile.uncertainty.verdict
    yield from _utility(profile)
    yield from _sinks(profile)
    for sentence in profile.provenance.dropped:
        yield f"Cut short by the budget: {sentence}"


def _held_out(profile: Profile) -> Iterator[str]:
    chosen, held_out = _chosen_test(profile), profile.expected.agreement
    if chosen is not None and held_out is not None and held_out < chosen.agreement - MAX_AGREEMENT_FALL:
        yield (
            f"The plan changes {1 - chosen.agreement:.0%} of the answers that it was chosen on, but {1 - held_out:.0%} "
            f"of the {profile.expected.held_out} kept apart: calibrate on more samples, or keep more."
        )


def _targets(profile: Profile) -> Iterator[str]:
    chosen, held_out = _chosen_test(profile), profile.expected.agreement
    if chosen is None:
        return
    settings = profile.provenance.arguments_resolved
    target_retention, target_flops = settings.get("target_retention"), settings.get("target_flops")
    agreement = chosen.agreement if held_out is None else min(held_out, chosen.agreement)
    if not profile.plan.interventions and len(profile.pruning_tests) > 1:
        yield "Every plan that was tried and saves anything changes too many answers, so this one changes nothing."
    if isinstance(target_retention, float) and agreement < target_retention:
        yield f"No plan that was tried keeps {target_retention:.0%} of the answers; the one taken changes least."
    if isinstance(target_flops, float) and chosen.flops_ratio < target_flops:
        yield f"No plan that was tried reaches {target_flops:g}x fewer FLOPs; the one taken comes closest."


def _method(profile: Profile) -> Iterator[str]:
    if profile.method is None:
        return
    name, title = profile.method.name, METHODS[profile.method.name].title
    if not profile.plan.is_known_beforehand:
        yield f"{title} decides in the run what else it prunes; FLOPs and KV cache are counted as if it never did."
    if name == "visipruner":
        yield "VisiPruner's thresholds are the published ones; that of 0.2 depends on the scale of the model's values."
    if name == "hawk" and not profile.method.head_weights:
        yield "No head of layer 0 was found to matter to the answers, so HAWK's heads have its default weights."


def _chosen_test(profile: Profile) -> PruningTest | None:
    return next((test for test in profile.pruning_tests if test.plan == profile.plan), None)


def _kl_against_tests(profile: Profile) -> Iterator[str]:
    start, kl = profile.stages.saturation_start, profile.curves.redundancy
    freezing = next((test for test in profile.saturation.tests if test.treatment == "layer_inactivity"), None)
    if start is None:
        safe_starts = [test.plan.first_layer for test in profile.saturation.grid if test.safe]
        if safe_starts:
            yield (
                f"The curves show no Stage III, but from layer {min(safe_starts)} on a treatment of Stage III would "
                "have been safe; nothing is done there."
            )
        return
    if freezing is None or max(kl) == 0:
        return
    share = max(kl[start:]) / max(kl)
    if share <= IDLE_SHARE and not freezing.safe:
        yield (
            f"The KL curve says that layers from {start} on are idle (at most {share:.1%} of its peak), but freezing "
            "them changes answers; the test was believed."
        )
    if share >= ACTIVE_SHARE and freezing.safe:
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
    at_start = means[surface.layers.index(start)]
    if best > start and min(means) < 0.5 * at_start:
        yield (
            f"Pruning costs least for what it saves at layer {best} ({min(means):.3g} nats a token, against "
            f"{at_start:.3g} at layer {start}), later than the signals put Stage II; "
            "--target-retention tries later layers too."
        )


def _sinks(profile: Profile) -> Iterator[str]:
    for group in SINK_GROUPS:
        effect = sink_effect(profile.curves, group)
        if effect is None:
            continue
        layer, sinks, direction = effect.layer, effect.sinks, "higher" if effect.difference > 0 else "lower"
        yield (
            f"Sink tokens change the {group} entropy: at layer {layer} it is {abs(effect.difference):.2g} nats "
            f"{direction} without them ({sinks.tokens[layer]:.2g} a prompt, whose hidden states are up to "
            f"{sinks.norm_ratio[layer]:.3g} times as long as the median)."
        )
