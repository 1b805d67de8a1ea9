"""The choice of a plan among those that were judged, and what the held-out samples prove about it.

The finalists of the search are judged on samples that took no part in proposing them. What the search expected of them
counts half as much for each of its samples, since it comes from the samples that picked them. Because a plan that costs
more should not keep less, the retentions are made monotone in the cost (isotonic regression). Both average out some of
the chance in few samples. Then the cheapest plan that keeps enough is chosen, or the one that keeps most at the cost
that the user wants. Milder plans, and then the chosen one, are tested on the held-out samples (see `certify`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from halfv_core.plan import Plan
from halfv_core.plan_records import Certificate, PruningTest
from probe.calibration.scores import Judged, ScoreKind, Scores
from probe.calibration.search.race import Expectation
from probe.common.risk import CONFIDENCE, certified_prefix, is_positive, samples_to_prove
from probe.trials.readings import Quality

MILDER = 2
"""Number of plans milder than the chosen one that are tested before it."""
NEARLY = 1.05
"""Plans that differ by less in what they save count as equally cheap: the one that loses least is taken."""
NOTHING = Plan(())


class Priced(NamedTuple):
    """A plan, what it saves, and where it comes from."""

    plan: Plan
    flops_ratio: float
    kv_ratio: float
    latency_ratio: float | None = None
    method: str | None = None
    """The published method whose plan it is."""


@dataclass(frozen=True)
class Goal:
    """What the chosen plan has to reach."""

    retention: float
    ratio_of: Callable[[Priced], float]
    """The cost ratio that counts."""
    wanted: float | None
    """The cost ratio to reach; None to save as much as the retention allows."""


class ChosenPlan(NamedTuple):
    """The plan, and what was measured about it."""

    tests: tuple[PruningTest, ...]
    """The plans that were judged, cheapest first."""
    plan: Plan
    held_out_quality: Quality | None
    """The plan's quality on the held-out samples; None if there are none."""
    changed_ids: frozenset[str]
    """Ids of the held-out samples whose answer the plan changes, or of those it was chosen on if none were held out."""
    certificate: Certificate


def monotone_retentions(ratios: Sequence[float], retentions: Sequence[float]) -> list[float]:
    """Retentions that do not grow with what a plan saves: the closest ones in the least-squares sense."""
    from scipy.optimize import isotonic_regression  # half a second to import

    if not ratios:
        return []
    order = np.argsort(ratios, kind="stable")
    fitted = isotonic_regression(np.asarray(retentions)[order], increasing=False).x
    result = np.empty(len(order))
    result[order] = fitted
    return result.tolist()


def judged_tests(
    plans: Sequence[Priced], judged: Judged, goal: Goal, seed: int, expected: Sequence[Expectation]
) -> list[PruningTest]:
    """A test for each plan.

    Args:
        judged: the plans' scores, in the same order.
        expected: of the finalists, which are the first of the plans. Others only stand beside them.
    """
    finalists = len(expected)
    retentions = [scores.retention for scores in judged.scores]
    for index, expectation in enumerate(expected):
        retentions[index] = expectation.mixed_with(retentions[index], len(judged.samples))
    ratios = list(map(goal.ratio_of, plans))[:finalists]
    retentions[:finalists] = monotone_retentions(ratios, retentions[:finalists])
    tests = []
    for index, (priced, scores, retention) in enumerate(zip(plans, judged.scores, retentions, strict=True)):
        test = PruningTest(
            compared_only=index >= finalists,
            **priced._asdict(),
            **scores.quality._asdict(),
            safe=retention >= goal.retention,
            safe_share=scores.reaching_share(goal.retention, seed),
            samples=len(judged.samples),
            retention=retention,
        )
        tests.append(test)
    return tests


def doing_nothing(samples: int, *, timed: bool = False) -> PruningTest:
    """The test of the plan that does nothing, whose result is known.

    Args:
        timed: whether the other plans' prefill times are known.
    """
    same = {"agreement": 1.0, "log_likelihood_drop": 0.0, "safe": True, "safe_share": 1.0, "retention": 1.0}
    ratios = {"flops_ratio": 1.0, "kv_ratio": 1.0, "latency_ratio": 1.0 if timed else None}
    return PruningTest(plan=NOTHING, samples=samples, **ratios, **same)


def choose(tests: Sequence[PruningTest], goal: Goal) -> PruningTest:
    """The plan to take: of the cheapest that keep enough, or of those at the cost that is wanted, what keeps most.

    Retentions are smoothed along the cost, so that equal ones cannot be told apart: of such plans at a wanted cost, the
    one that saves least is taken. If no plan reaches that cost, the cheapest is chosen.
    """
    ratio = {id(test): goal.ratio_of(_priced(test)) for test in tests}
    if goal.wanted is None:
        safe = [test for test in tests if test.safe]
        cheapest = max(ratio[id(test)] for test in safe)
        nearly = [test for test in safe if ratio[id(test)] * NEARLY >= cheapest]
        return max(nearly, key=lambda test: (test.retention or 0.0, -test.log_likelihood_drop, ratio[id(test)]))
    reaching = [test for test in tests if ratio[id(test)] >= goal.wanted]
    if not reaching:
        return max(tests, key=lambda test: ratio[id(test)])
    return max(reaching, key=lambda test: (test.retention or 0.0, -ratio[id(test)], -test.log_likelihood_drop))


def testing_sequence(tests: Sequence[PruningTest], chosen: PruningTest, goal: Goal) -> list[PruningTest]:
    """Plans from mild to bold that end with the chosen one: at evenly spaced costs before it, those that keep most."""
    if chosen.plan == NOTHING:
        return []
    end = goal.ratio_of(_priced(chosen))
    between = [test for test in tests if test.plan != NOTHING and goal.ratio_of(_priced(test)) < end]
    sequence: list[PruningTest] = []
    for step in range(1, MILDER + 1):
        least = max(1.0, end) ** (step / (MILDER + 1))
        milder = [test for test in between if goal.ratio_of(_priced(test)) >= least and test not in sequence]
        if milder:
            sequence.append(max(milder, key=lambda test: (test.retention or 0.0, -goal.ratio_of(_priced(test)))))
    return [*sorted(sequence, key=lambda test: goal.ratio_of(_priced(test))), chosen]


def _priced(test: PruningTest) -> Priced:
    return Priced(test.plan, test.flops_ratio, test.kv_ratio or 1.0, test.latency_ratio, test.method)


class Certified(NamedTuple):
    """What the held-out samples say."""

    certificate: Certificate
    taken: int | None
    """Place in the sequence of the plan to take; None for the plan that does nothing."""


def certify(
    sequence: Sequence[Priced],
    judged: Judged,
    target: float,
    score: ScoreKind,
    *,
    strict: bool,
    seed: int,
    asked_for: bool = False,
) -> Certified:
    """Test the plans of a sequence, from mild to bold, until one is not proven to reach the target.

    The last plan is the chosen one. It is taken unless the held-out samples prove that it does not reach the target;
    then the boldest plan is taken of which they do not. If `strict`, the boldest proven plan is taken, or none.

    Args:
        sequence: empty if the chosen plan does nothing.
        judged: the scores of the plans on the held-out samples.
        strict: take a plan only if it is proven.
        seed: of the order in which the samples are looked at.
        asked_for: whether the user asked for the chosen plan by its cost or its name. Then it is taken whatever it
            keeps, unless `strict`.
    """
    count = len(judged.samples)
    order = np.random.default_rng(seed).permutation(count)
    scores = [one.in_order(order) for one in judged.scores]
    proven = certified_prefix(partial(one.proves, target) for one in scores) - 1 if count else -1
    place = last = len(sequence) - 1
    if strict and count:
        place = proven
    elif count and not asked_for:
        while place > proven and _is_refuted(scores[place], target):
            place -= 1
    taken = place if place >= 0 else None
    one = scores[place] if taken is not None and count else None
    bound = None if not count else 1.0 if one is None else one.proven()
    if one is not None and place < last:  # it was picked by these samples
        bound = target if place == proven else one.proven(1 - (1 - CONFIDENCE) / len(sequence))
    best = sequence[proven] if proven >= 0 else None
    needed = None
    if count and sequence and proven < len(sequence) - 1:
        asked = scores[-1 if taken is None else taken]
        needed = None if taken == proven else samples_to_prove(asked.kept, asked.full, target, seed=seed)
    certificate = Certificate(
        target=target,
        confidence=CONFIDENCE,
        score=score,
        samples=count,
        noise_floor=judged.noise_floor,
        retention=None if not count else 1.0 if one is None else one.retention,
        proven=bound,
        proven_plan=None if best is None else best.plan,
        proven_flops_ratio=None if best is None else best.flops_ratio,
        samples_needed=needed,
        sentence="",
    )
    sentence = _sentence(certificate, taken, proven, tested=bool(sequence))
    return Certified(certificate.model_copy(update={"sentence": sentence}), taken)


def _is_refuted(scores: Scores, target: float) -> bool:
    return bool(is_positive(target * scores.full - scores.kept, -1.0, target))


def _sentence(certificate: Certificate, taken: int | None, proven: int, *, tested: bool) -> str:
    target, count = f"{100 * certificate.target:.4g}%", certificate.samples
    if not count:
        return "No sample was held out, so nothing is proven about the plan."
    needed = certificate.samples_needed
    if taken is None:
        if not tested:
            return "The plan changes nothing, so that it keeps everything."
        more = f"; about {needed} samples would prove it for the one that was chosen" if needed else ""
        tried = f"No plan that was tested is proven to keep {target} by {count} held-out samples"
        return f"{tried}, so the plan changes nothing{more}."
    assert certificate.retention is not None and certificate.proven is not None
    start = (
        f"With {certificate.confidence:.0%} confidence, the plan keeps at least {certificate.proven:.1%} of the full "
        f"model's score on data like these ({certificate.retention:.1%} on {count} held-out samples)"
    )
    if taken == proven:
        return f"{start}; the target of {target} is proven."
    more = (
        f"about {needed} samples would prove {target}"
        if needed
        else f"no number of samples would prove {target} for it"
    )
    if certificate.proven_flops_ratio is None:
        return f"{start}; {more}, and no plan that was tested is proven to keep that much."
    return f"{start}; {more}. A plan at {certificate.proven_flops_ratio:.2f}x fewer FLOPs is proven to keep {target}."


def with_held_out(
    tests: Sequence[PruningTest], sequence: Sequence[PruningTest], judged: Judged, seed: int
) -> tuple[PruningTest, ...]:
    """All tests, cheapest first, with what the held-out samples say about those of the sequence."""
    order = np.random.default_rng(seed).permutation(len(judged.samples))
    found: dict[int, dict[str, float]] = {}
    for test, scores in zip(sequence, judged.scores, strict=True):
        if len(judged.samples):
            found[id(test)] = {
                "held_out_agreement": scores.quality.agreement,
                "held_out_retention": scores.retention,
                "proven": scores.in_order(order).proven(),
            }
    extended = [test.model_copy(update=found.get(id(test), {})) for test in tests]
    return tuple(sorted(extended, key=lambda test: (-test.flops_ratio, test.log_likelihood_drop)))
