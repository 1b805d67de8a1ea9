"""Cautions: what a reader should know before trusting a profile, in plain sentences."""

from collections.abc import Iterator

from halfv_core.method_records import VisiPrunerFindings
from halfv_core.methods import METHODS
from halfv_core.plan_records import Certificate
from halfv_core.profile import Profile
from probe.calibration.certainty import CONFIDENT, chosen_test, confidences, curves_and_causes
from probe.calibration.sink_effect import SINK_GROUPS, sink_effect

IDLE_SHARE = 0.01
"""The KL curve suggests idle layers if its maximum in Stage III is at most this share of its overall maximum."""
ACTIVE_SHARE = 0.1
"""The KL curve suggests active layers if the same share is at least this."""
MAX_AGREEMENT_FALL = 0.1
"""Largest tolerated fall in agreement from the calibration samples to the held-out samples."""
MAX_NOISE = 0.01
"""Largest loss of the full model against itself that is not worth a word."""
SAVINGS = (
    ("target_flops", "flops_ratio", "{:g}x fewer FLOPs"),
    ("target_kv", "kv_ratio", "a {:g}x smaller KV cache"),
    ("target_latency", "latency_ratio", "a {:g}x shorter prefill"),
)
"""Argument, the field of a test that it is a target for, and how it is said."""


def cautions(profile: Profile) -> tuple[str, ...]:
    """The cautions of a profile, one sentence each, the most important first; empty if there are none."""
    return tuple(_cautions(profile))


def _cautions(profile: Profile) -> Iterator[str]:
    if profile.causes is not None and profile.causes.verdict == "picture_not_needed":
        yield profile.causes.sentence
    failed = [check.name for check in profile.checks if not check.passed]
    if failed:
        yield f"Self-checks failed ({', '.join(failed)}): do not trust these numbers."
    if profile.certificate is None:
        yield from _held_out(profile)
    else:
        yield from _certificate(profile, profile.certificate)
    yield from _targets(profile)
    yield from _method(profile)
    yield from _causes(profile)
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
    chosen, held_out = chosen_test(profile), profile.expected.agreement
    if chosen is not None and held_out is not None and held_out < chosen.agreement - MAX_AGREEMENT_FALL:
        yield (
            f"The plan changes {1 - chosen.agreement:.0%} of the answers that it was chosen on, but {1 - held_out:.0%} "
            f"of the {profile.expected.held_out} kept apart: calibrate on more samples, or keep more."
        )


def _certificate(profile: Profile, certificate: Certificate) -> Iterator[str]:
    target, chosen = certificate.target, chosen_test(profile)
    if certificate.proven_plan is None:
        yield (
            f"No plan that saves anything is proven to keep {_percent(target)} of the score by {certificate.samples} "
            f"held-out samples{_remedy(profile, certificate.samples_needed)}."
        )
    estimated, held_out = None if chosen is None else chosen.retention, certificate.retention
    if estimated is not None and held_out is not None and held_out < target <= estimated:
        yield (
            f"The plan keeps {estimated:.1%} of the score on the samples that it was chosen on, but {held_out:.1%} on "
            f"the {certificate.samples} held out: calibrate on more samples, or keep more."
        )
    if certificate.noise_floor is not None and certificate.noise_floor > MAX_NOISE:
        yield (
            f"The full model loses {certificate.noise_floor:.1%} against itself under another attention kernel, so "
            "that much of a plan's loss may be rounding."
        )


def _remedy(profile: Profile, needed: int | None) -> str:
    if needed is not None:
        return f"; about {needed} would prove it for the plan that was taken"
    return "; no number of them would, for what the plan that was taken keeps" if profile.plan.interventions else ""


def _targets(profile: Profile) -> Iterator[str]:
    chosen, certificate = chosen_test(profile), profile.certificate
    if chosen is None:
        return
    settings = profile.provenance.arguments_resolved
    held_out, what = profile.expected.agreement, "answers"
    kept = chosen.agreement if held_out is None else min(held_out, chosen.agreement)
    if certificate is not None and chosen.retention is not None:  # the held-out samples have a caution of their own
        kept, what = chosen.retention, "score"
    saving = [test for test in profile.pruning_tests if test.plan.interventions]
    if not profile.plan.interventions and saving and not any(test.safe for test in saving):
        harm = "changes too many answers" if certificate is None else "loses too much"
        yield f"Every plan that was tried and saves anything {harm}, so this one changes nothing."
    retention = settings.get("target_retention")
    if isinstance(retention, float) and kept < retention:
        least = "changes" if certificate is None else "loses"
        yield f"No plan that was tried keeps {_percent(retention)} of the {what}; the one taken {least} least."
    for argument, field, words in SAVINGS:
        target, ratio = settings.get(argument), getattr(chosen, field)
        if isinstance(target, float) and ratio is not None and ratio < target:
            yield f"No plan that was tried reaches {words.format(target)}; the one taken comes closest."


def _causes(profile: Profile) -> Iterator[str]:
    if profile.causes is not None and profile.causes.verdict == "too_few_samples":
        yield profile.causes.sentence
    comparison = curves_and_causes(profile)
    if comparison is not None and not comparison.agree:
        yield comparison.sentence


def _method(profile: Profile) -> Iterator[str]:
    if profile.method is None:
        return
    name, title = profile.method.name, METHODS[profile.method.name].title
    if not profile.plan.is_known_beforehand:
        yield f"{title} decides in the run what else it prunes; FLOPs and KV cache are counted as if it never did."
    if name == "visipruner":
        yield from _visipruner(profile.method.visipruner)
    if name == "hawk" and not profile.method.head_weights:
        yield "No head of layer 0 was found to matter to the answers, so HAWK's heads have its default weights."


def _visipruner(found: VisiPrunerFindings | None) -> Iterator[str]:
    if found is None:
        yield "VisiPruner's thresholds are the published ones; that of 0.2 depends on the scale of the model's values."
        return
    measured = f"{found.flops_ratio:.2f}x fewer FLOPs and {_percent(found.retention)} of the score"
    yield f"On the samples on which its settings were chosen, VisiPruner had {measured}."
    if found.setting is None:
        yield "No setting of VisiPruner's rules that was tried keeps enough and saves more, so they never prune."


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
    if surface is None or start not in surface.layers or profile.search is not None:  # a search tries later layers
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


def _percent(share: float) -> str:
    return f"{100 * share:.3g}%"
