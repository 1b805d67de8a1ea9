"""The numbers of a profile that a reader looks for first: what the plan saves, what it keeps, and what is proven."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from halfv_core.plan import Plan
from halfv_core.profile import Certificate, Profile
from probe.calibration.certainty import chosen_test


class Fact(NamedTuple):
    """One number of the page."""

    label: str
    value: str
    unit: str
    note: str


def facts(profile: Profile) -> list[Fact]:
    """Savings first, then what is kept of the full model's score, or of its answers."""
    expected, chosen = profile.expected, chosen_test(profile)
    tokens = f"{expected.visual_tokens:.0f} visual and {expected.text_tokens:.0f} text tokens"
    found = [
        Fact("Prefill FLOPs", f"{expected.flops_ratio:.2f}×", "fewer", f"decoder only, for {tokens}"),
        Fact("KV cache", f"{expected.kv_ratio:.2f}×", "smaller", "keys and values of the prompt"),
    ]
    if chosen is not None and chosen.latency_ratio is not None:
        found.append(Fact("Prefill time", f"{chosen.latency_ratio:.2f}×", "shorter", "predicted from measured layers"))
    more = _answers(profile) if profile.certificate is None else _kept(profile, profile.certificate)
    return [*found, *more]


def proof_rows(profile: Profile) -> list[tuple[str, str]]:
    """Target, what is estimated and what is proven, as label and text; empty without a certificate."""
    certificate = profile.certificate
    if certificate is None:
        return []
    estimated, (held_out, proven) = estimated_retention(profile), _ends(certificate)
    score = "score" if certificate.score == "graded" else "score, by the likelihood of its own answers"
    rows = [("target", f"{percent(certificate.target)} of the full model's {score}")]
    if estimated is not None:
        rows.append(("estimated", f"{percent(estimated)} kept, on the {_chosen_on(profile)} samples it was chosen on"))
    samples = f"{certificate.samples} samples that took no part in the choice"
    rows.append(("held out", f"{held_out} kept, on {samples}" if certificate.samples else held_out))
    rows.append(("proven", f"at least {proven}, with {certificate.confidence:.0%} confidence"))
    if certificate.proven is None:
        rows[-1] = ("proven", proven)
    described = _proven_plan(profile, certificate)
    return [*rows, *(("" if index else "proven plan", text) for index, text in enumerate(described))]


def comparison_rows(profiles: Sequence[Profile]) -> list[tuple[str, list[str]]]:
    """What each profile keeps by estimate, on held-out samples and for sure; empty if none has a certificate."""
    if all(profile.certificate is None for profile in profiles):
        return []
    rows: dict[str, list[str]] = {"Estimated retention": [], "Held-out retention": [], "Proven retention": []}
    for profile in profiles:
        certificate, estimated = profile.certificate, estimated_retention(profile)
        ends = ("not measured", "not measured") if certificate is None else _ends(certificate)
        proven = f"at least {ends[1]}" if certificate is not None and certificate.proven is not None else ends[1]
        cells = ("not measured" if estimated is None else percent(estimated), ends[0], proven)
        for row, cell in zip(rows.values(), cells, strict=True):
            row.append(cell)
    return list(rows.items())


def estimated_retention(profile: Profile) -> float | None:
    """Share of the score that the plan keeps on the samples that it was chosen on."""
    chosen = chosen_test(profile)
    return None if chosen is None else chosen.retention


def in_words(plan: Plan) -> str:
    """A plan in one line."""
    return "; ".join(plan.describe()) or "change nothing"


def percent(share: float) -> str:
    """A share with three digits."""
    return f"{100 * share:.3g} %"


def _answers(profile: Profile) -> Iterator[Fact]:
    expected = profile.expected
    if expected.agreement is None:
        yield Fact("Same answers", "", "not measured", "no samples were held out")
    else:
        note = f"of {expected.held_out} held-out samples, greedy"
        yield Fact("Same answers", percent(expected.agreement), "", note)
    if expected.log_likelihood_drop is not None:
        note = "nats a token, of the full model's answers to them"
        yield Fact("Log-likelihood", f"{-expected.log_likelihood_drop:+.3f}", "", note)


def _kept(profile: Profile, certificate: Certificate) -> Iterator[Fact]:
    estimated, target = estimated_retention(profile), percent(certificate.target)
    if estimated is not None:
        note = f"of the score, on the {_chosen_on(profile)} samples it was chosen on; the target is {target}"
        yield Fact("Estimated retention", percent(estimated), "", note)
    if certificate.retention is None:
        yield Fact("Held-out retention", "", "not measured", "no samples were held out")
        return
    answers, note = profile.expected.agreement, f"of the score, on {certificate.samples} samples kept apart"
    same = "" if answers is None else f"; {percent(answers)} of the answers are the same"
    yield Fact("Held-out retention", percent(certificate.retention), "", note + same)
    if certificate.proven is None:
        yield Fact("Proven retention", "", "nothing", f"the target is {target}")
    else:
        reached = "which reaches" if certificate.proven >= certificate.target else "short of"
        note = f"of the score, with {certificate.confidence:.0%} confidence; {reached} the target of {target}"
        yield Fact("Proven, at least", percent(certificate.proven), "", note)


def _proven_plan(profile: Profile, certificate: Certificate) -> list[str]:
    """The cheapest plan that is proven to reach the target, line by line, or what it would take to prove one."""
    if certificate.proven_plan is None:
        needed = certificate.samples_needed
        remedy = "" if needed is None else f"; about {needed} held-out samples would prove this one"
        return [f"none that saves anything{remedy}"]
    if certificate.proven_plan == profile.plan:
        return ["this one"]
    ratio = certificate.proven_flops_ratio
    return [*([] if ratio is None else [f"{ratio:.2f}x fewer FLOPs"]), *certificate.proven_plan.describe()]


def _ends(certificate: Certificate) -> tuple[str, str]:
    """What is kept of held-out samples, and what is proven."""
    held_out = "not measured" if certificate.retention is None else percent(certificate.retention)
    return held_out, "nothing" if certificate.proven is None else percent(certificate.proven)


def _chosen_on(profile: Profile) -> int:
    """Number of samples on which the plan was judged."""
    chosen = chosen_test(profile)
    known = None if chosen is None else chosen.samples
    return len(profile.provenance.sample_ids) if known is None else known
