"""Each caution appears where it should, alone, and a profile without problems has none."""

from typing import Any

import pytest

from halfv_core.method_records import PublishedMethod, StageBegin, VisiPrunerFindings, VisiPrunerSetting
from halfv_core.plan import Freeze, Keep, Plan, Selection, When
from halfv_core.profile import Profile
from halfv_core.records import CausalTest, Check, Sinks, UtilitySurface
from probe.calibration.cautions import cautions
from tests import proven_profiles
from tests.profiles import llava_like, uncertainty, unsaturated


def clean() -> Profile:
    """A profile without cautions: idle from layer 15 on; the plan keeps 97 % of the answers, 95 % of held-out ones."""
    profile = llava_like()
    checks = (Check(name="one", passed=True, found=""), Check(name="two", passed=True, found=""))
    chosen = profile.pruning_tests[1]
    return profile.model_copy(update={"checks": checks, "pruning_tests": (chosen,), "uncertainty": uncertainty()})


def with_agreement(
    profile: Profile, agreement: float, held_out: float | None, ratio: float = 3.3, **target: Any
) -> Profile:
    """Set the plan's agreement on calibration and held-out samples, and the targets."""
    test = profile.pruning_tests[0].model_copy(update={"agreement": agreement, "flops_ratio": ratio})
    resolved = profile.provenance.arguments_resolved | target
    return profile.model_copy(
        update={
            "pruning_tests": (test,),
            "expected": profile.expected.model_copy(update={"agreement": held_out}),
            "provenance": profile.provenance.model_copy(update={"arguments_resolved": resolved}),
        }
    )


def with_kl_share(profile: Profile, share: float, safe: bool) -> Profile:
    """Set the KL in Stage III as a share of its peak, and whether freezing is safe there."""
    curve = profile.curves.kl.model_copy(update={"mean": (2.0,) * 15 + (2.0 * share,) * 17})
    tests = (profile.saturation.tests[0].model_copy(update={"safe": safe}), *profile.saturation.tests[1:])
    return profile.model_copy(
        update={
            "curves": profile.curves.model_copy(update={"kl": curve}),
            "saturation": profile.saturation.model_copy(update={"tests": tests}),
        }
    )


def with_utility(profile: Profile, *utility: tuple[float, float]) -> Profile:
    """Set the utilities of layers 2, 3, ..., for two keep ratios each; Stage II starts at layer 3."""
    layers = tuple(range(2, 2 + len(utility)))
    table = ((0.5, 0.3),) * len(utility)
    surface = UtilitySurface(
        layers=layers,
        keep_ratios=(0.1, 0.5),
        saved=table,
        log_likelihood_drop=table,
        agreement=table,
        utility=utility,
        candidates={},
        samples=9,
    )
    return profile.model_copy(update={"utility": surface})


def with_treatments(profile: Profile, *safe: tuple[int, bool]) -> Profile:
    """Set the treatments tried from these layers on, and whether they are safe."""
    tests = tuple(
        CausalTest(
            treatment="layer_inactivity",
            plan=Plan((Freeze(layers=range(start, 12)),)),
            agreement=1.0,
            log_likelihood_drop=0.0,
            safe=passed,
        )
        for start, passed in safe
    )
    return profile.model_copy(update={"saturation": profile.saturation.model_copy(update={"grid": tests})})


@pytest.mark.parametrize("profile", [clean(), llava_like(), unsaturated()])
def test_a_clean_profile_has_no_cautions(profile: Profile) -> None:
    assert cautions(profile) == ()


def test_self_checks_that_failed_come_first_by_name() -> None:
    checks = tuple(Check(name=name, passed=name == "two", found="") for name in ("one", "two", "three"))
    profile = with_agreement(clean(), 0.97, 0.5).model_copy(update={"checks": checks})
    first, second = cautions(profile)
    assert first == "Self-checks failed (one, three): do not trust these numbers."
    assert "kept apart" in second


def test_a_plan_that_does_worse_on_held_out_samples() -> None:
    assert cautions(with_agreement(clean(), 0.97, 0.88)) == ()
    assert cautions(with_agreement(clean(), 0.97, 0.85)) == (
        "The plan changes 3% of the answers that it was chosen on, but 15% of the 20 kept apart: calibrate on more "
        "samples, or keep more.",
    )


RETENTION = "No plan that was tried keeps 98% of the answers; the one taken changes least."
FLOPS = "No plan that was tried reaches 4x fewer FLOPs; the one taken comes closest."


@pytest.mark.parametrize(
    ("agreement", "held_out", "ratio", "target", "expected"),
    [
        (0.98, 0.98, 3.3, {"target_retention": 0.98}, ()),
        (0.99, None, 3.3, {"target_retention": 0.98}, ()),
        (0.99, 0.97, 3.3, {"target_retention": 0.98}, (RETENTION,)),
        (0.97, 0.99, 3.3, {"target_retention": 0.98}, (RETENTION,)),
        (0.97, None, 3.3, {"target_retention": 0.98}, (RETENTION,)),
        (0.9, 0.9, 4.0, {"target_flops": 4.0}, ()),
        (0.9, 0.9, 3.9, {"target_flops": 4.0}, (FLOPS,)),
        (0.9, None, 3.9, {"target_flops": 4.0}, (FLOPS,)),
        (0.9, 0.9, 3.9, {"target_flops": None, "target_retention": None}, ()),
    ],
)
def test_a_target_that_is_missed(
    agreement: float, held_out: float | None, ratio: float, target: dict[str, float | None], expected: tuple[str, ...]
) -> None:
    assert cautions(with_agreement(clean(), agreement, held_out, ratio, **target)) == expected


def test_a_plan_that_changes_nothing_although_others_were_tried() -> None:
    profile = with_agreement(clean(), 1.0, 1.0, 1.0)
    idle = profile.pruning_tests[0].model_copy(update={"plan": Plan(())})
    alone = profile.model_copy(update={"plan": Plan(()), "pruning_tests": (idle,)})
    assert cautions(alone) == ()
    harmful = tuple(test.model_copy(update={"safe": False}) for test in clean().pruning_tests)
    assert cautions(alone.model_copy(update={"pruning_tests": (*harmful, idle)})) == (
        "Every plan that was tried and saves anything changes too many answers, so this one changes nothing.",
    )


def test_a_plan_that_was_not_tried_is_not_judged() -> None:
    other = Plan((Keep(layer=9, keep_ratio=0.9),))
    missed = with_agreement(clean(), 0.5, 0.1, target_retention=0.98)
    assert len(cautions(missed)) == 2
    assert cautions(missed.model_copy(update={"plan": other})) == ()


@pytest.mark.parametrize(
    ("share", "safe", "expected"),
    [
        (0.005, True, None),
        (0.05, True, None),
        (0.05, False, None),
        (0.5, False, None),
        (0.005, False, "are idle (at most 0.5% of its peak), but freezing them changes answers; the test was believed"),
        (0.25, True, "are active (up to 25% of its peak), but freezing them all changes few answers"),
    ],
)
def test_a_kl_curve_that_the_causal_test_contradicts(share: float, safe: bool, expected: str | None) -> None:
    found = cautions(with_kl_share(clean(), share, safe))
    if expected is None:
        assert found == ()
    else:
        (sentence,) = found
        assert sentence.startswith("The KL curve says that layers from 15 on ")
        assert expected in sentence


def test_a_kl_curve_of_zeros_contradicts_nothing() -> None:
    profile = clean()
    zero = profile.curves.kl.model_copy(update={"mean": (0.0,) * 32})
    flat = profile.model_copy(update={"curves": profile.curves.model_copy(update={"kl": zero})})
    assert cautions(flat) == ()


def test_no_stage_three_although_a_treatment_is_safe() -> None:
    assert cautions(with_treatments(unsaturated(), (6, False), (9, False))) == ()
    assert cautions(with_treatments(unsaturated(), (6, False), (11, True), (9, True))) == (
        "The curves show no Stage III, but from layer 9 on a treatment of Stage III would have been safe; nothing is "
        "done there.",
    )
    assert cautions(with_treatments(clean(), (9, True))) == ()


BEGIN = StageBegin(layer=5, low=4, high=6, share=0.9)
FOUND = VisiPrunerFindings(
    hidden=2,
    setting=VisiPrunerSetting(first_layer=5, filter_below=0.9, keep_above=0.1),
    retention=0.975,
    flops_ratio=1.25,
    noise_floor=0.0,
    middle=BEGIN,
    deep=BEGIN,
)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (PublishedMethod(name="vtw", withdrawal=(0.5,)), 0),
        (PublishedMethod(name="hawk", head_weights=(0.5, 0.1)), 0),
        (PublishedMethod(name="hawk"), 1),
        (PublishedMethod(name="visipruner"), 1),
        (PublishedMethod(name="visipruner", visipruner=FOUND), 1),
        (PublishedMethod(name="visipruner", visipruner=FOUND.model_copy(update={"setting": None})), 2),
    ],
)
def test_what_a_method_leaves_open(method: PublishedMethod, expected: int) -> None:
    found = cautions(clean().model_copy(update={"method": method, "pruning_tests": ()}))
    assert len(found) == expected


def test_flops_of_a_method_that_decides_in_the_run() -> None:
    nothing = Selection(keep_ratio=0.0)
    plan = Plan((When(rule="exhausted", options={"threshold": 0.999}, from_layer=5, then=nothing),))
    method = PublishedMethod(name="visipruner")
    assert cautions(clean().model_copy(update={"method": method, "plan": plan, "pruning_tests": ()})) == (
        "VisiPruner decides in the run what else it prunes; FLOPs and KV cache are counted as if it never did.",
        "VisiPruner's thresholds are the published ones; that of 0.2 depends on the scale of the model's values.",
    )


def test_uncertain_stages_repeat_their_verdict() -> None:
    unsure = uncertainty("40 samples were not enough.").model_copy(update={"enough": False})
    assert cautions(clean().model_copy(update={"uncertainty": unsure})) == ("40 samples were not enough.",)


def test_a_later_layer_that_is_far_cheaper_than_the_start_of_stage_two() -> None:
    assert (
        cautions(with_utility(clean(), (0.1, 0.1), (0.4, 0.8), (0.4, 0.4))) == ()
    )  # the best layer comes before layer 3
    assert cautions(with_utility(clean(), (0.9, 0.9), (0.4, 0.8), (0.3, 0.5))) == ()  # not below half of it
    assert cautions(with_utility(clean(), (0.9, 0.9))) == ()  # not measured at layer 3
    assert cautions(with_utility(clean(), (0.9, 0.9), (0.4, 0.8), (0.3, 0.5), (0.1, 0.3))) == (
        "Pruning costs least for what it saves at layer 5 (0.2 nats a token, against 0.6 at layer 3), later than the "
        "signals put Stage II; --target-retention tries later layers too.",
    )


@pytest.mark.parametrize(("share", "expected"), [(0.89, 1), (0.9, 0)])
def test_a_plan_that_is_safe_by_chance_is_reported(share: float, expected: int) -> None:
    profile = clean()
    chosen = profile.pruning_tests[-1].model_copy(update={"plan": profile.plan, "safe_share": share})
    found = cautions(profile.model_copy(update={"pruning_tests": (chosen,)}))
    assert sum(sentence.startswith("The plan is safe in 89% of the resamples") for sentence in found) == expected


def with_sinks(profile: Profile, **off: float) -> Profile:
    """Set how far each group's entropy without sinks is from the one with them at layer 7; half as far at layer 8."""
    curves, sinks = profile.curves, {}
    for group, distance in off.items():
        without = list(getattr(curves, group).mean)
        without[7] += distance
        without[8] += distance / 2
        points = len(without)
        sinks[f"{group}_sinks"] = Sinks(
            tokens=(1.5,) * points, norm_ratio=(87.5,) * points, entropy_without=tuple(without)
        )
    return profile.model_copy(update={"curves": curves.model_copy(update=sinks)})


def test_sinks_that_change_an_entropy_are_named_by_group() -> None:
    assert cautions(with_sinks(clean(), visual=0.19, text=-0.19)) == ()
    assert cautions(with_sinks(clean(), text=0.43)) == (
        "Sink tokens change the text entropy: at layer 7 it is 0.43 nats higher without them (1.5 a prompt, whose "
        "hidden states are up to 87.5 times as long as the median).",
    )
    visual, text = cautions(with_sinks(clean(), visual=-0.5, text=1.0))
    assert "the visual entropy: at layer 7 it is 0.5 nats lower without them" in visual
    assert "the text entropy: at layer 7 it is 1 nats higher" in text


def test_the_kl_caution_takes_the_typical_curve() -> None:
    """One sample may make the mean of Stage III large where every other sample is idle."""
    profile = with_kl_share(clean(), 0.4, safe=True)
    assert "The KL curve says" in cautions(profile)[0]
    typical = (2.0,) * 15 + (1e-4,) * 17
    curves = profile.curves.model_copy(update={"kl_typical": typical})
    assert cautions(profile.model_copy(update={"curves": curves})) == ()


def certified(**change: Any) -> Profile:
    """A profile without cautions whose plan is proven; `change` is of its certificate."""
    profile = proven_profiles.proven()
    assert profile.causes is not None and profile.certificate is not None
    sure = {"retention": 0.975, "proven": 0.971, "proven_plan": profile.plan}
    return profile.model_copy(
        update={
            "causes": profile.causes.model_copy(update={"by_curves": 9}),
            "certificate": profile.certificate.model_copy(update=sure | change),
        }
    )


def with_verdict(verdict: str) -> Profile:
    profile = certified(noise_floor=0.02)
    assert profile.causes is not None
    causes = profile.causes.model_copy(update={"verdict": verdict, "sentence": f"It is {verdict}."})
    return profile.model_copy(update={"causes": causes})


def test_a_profile_that_is_proven_has_no_cautions() -> None:
    profile = certified()
    assert cautions(profile) == ()
    old_rules = profile.expected.model_copy(update={"agreement": 0.1})  # greedy answers are no measure of the score
    assert cautions(profile.model_copy(update={"expected": old_rules})) == ()


UNPROVEN = "No plan that saves anything is proven to keep 97% of the score by 225 held-out samples"


def test_nothing_could_be_proven() -> None:
    assert cautions(certified(proven_plan=None, samples_needed=480)) == (
        f"{UNPROVEN}; about 480 would prove it for the plan that was taken.",
    )
    assert cautions(certified(proven_plan=None)) == (
        f"{UNPROVEN}; no number of them would, for what the plan that was taken keeps.",
    )
    idle = certified(proven_plan=None).model_copy(update={"plan": Plan(())})
    assert cautions(idle) == (f"{UNPROVEN}.",)  # a plan is safe by estimate, and only a proven one was wanted
    harmful = tuple(test.model_copy(update={"safe": not test.plan.interventions}) for test in idle.pruning_tests)
    assert cautions(idle.model_copy(update={"pruning_tests": harmful})) == (
        f"{UNPROVEN}.",
        "Every plan that was tried and saves anything loses too much, so this one changes nothing.",
    )


def test_held_out_samples_below_the_target_that_the_estimate_reached() -> None:
    assert cautions(certified(retention=0.97)) == ()
    assert cautions(certified(retention=0.951)) == (
        "The plan keeps 97.8% of the score on the samples that it was chosen on, but 95.1% on the 225 held out: "
        "calibrate on more samples, or keep more.",
    )


@pytest.mark.parametrize(
    ("argument", "target", "expected"),
    [
        ("target_retention", 0.97, None),
        ("target_retention", 0.985, "keeps 98.5% of the score; the one taken loses least."),
        ("target_flops", 3.3, None),
        ("target_flops", 3.5, "reaches 3.5x fewer FLOPs; the one taken comes closest."),
        ("target_kv", 2.9, None),
        ("target_kv", 3.0, "reaches a 3x smaller KV cache; the one taken comes closest."),
        ("target_latency", 2.7, "reaches a 2.7x shorter prefill; the one taken comes closest."),
    ],
)
def test_a_target_of_a_search_that_is_missed(argument: str, target: float, expected: str | None) -> None:
    profile = certified()
    resolved = profile.provenance.arguments_resolved | {argument: target}
    provenance = profile.provenance.model_copy(update={"arguments_resolved": resolved})
    found = cautions(profile.model_copy(update={"provenance": provenance}))
    assert found == (() if expected is None else (f"No plan that was tried {expected}",))


def test_questions_that_do_not_need_the_picture_come_first() -> None:
    failed = (Check(name="one", passed=False, found=""),)
    found = cautions(with_verdict("picture_not_needed").model_copy(update={"checks": failed}))
    assert (found[0], len(found)) == ("It is picture_not_needed.", 3)
    assert found[1].startswith("Self-checks failed")
    assert cautions(with_verdict("too_few_samples"))[1] == "It is too_few_samples."


def test_curves_and_interventions_that_disagree() -> None:
    profile = certified()
    assert profile.causes is not None
    causes = profile.causes.model_copy(update={"by_curves": None})
    assert cautions(profile.model_copy(update={"causes": causes})) == (
        "The entropy curve shows no Stage III, but the interventions put it at layer 9 (interval 2–9); the "
        "interventions decide.",
    )


@pytest.mark.parametrize(("floor", "expected"), [(None, 0), (0.01, 0), (0.011, 1)])
def test_answers_that_change_by_rounding(floor: float | None, expected: int) -> None:
    found = cautions(certified(noise_floor=floor))
    assert len(found) == expected
    assert all(sentence.startswith("The full model loses 1.1% against itself") for sentence in found)


def test_a_wide_search_tries_later_layers_itself() -> None:
    profile = with_utility(certified(), (0.9, 0.9), (0.4, 0.8), (0.3, 0.5), (0.01, 0.03))
    assert cautions(profile) == ()
    assert len(cautions(profile.model_copy(update={"search": None}))) == 1
