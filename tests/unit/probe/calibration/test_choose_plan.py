"""The choice of a plan and its certificate: by hand, by slow references, and how often the certificate is wrong."""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfv_core.plan import Keep, Plan
from halfv_core.plan_records import PruningTest
from probe.calibration import choose_plan
from probe.calibration.choose_plan import (
    NOTHING,
    Certified,
    Goal,
    Priced,
    certify,
    choose,
    doing_nothing,
    judged_tests,
    monotone_retentions,
    with_held_out,
)
from probe.calibration.choose_plan import (
    testing_sequence as sequence_of,
)
from probe.calibration.scores import Array, Judged, Scores
from probe.calibration.search.race import Expectation
from probe.common import risk
from tests.isotonic import falling
from tests.populations import POPULATIONS, Population, binary, most_failures

TARGET = 0.97


def goal(wanted: float | None = None, retention: float = TARGET) -> Goal:
    """FLOPs count."""
    return Goal(retention, lambda priced: priced.flops_ratio, wanted)


def plan_at(ratio: float) -> Plan:
    """A plan that stands for one that saves so much."""
    return Plan((Keep(layer=1, keep_ratio=1 / ratio, selector="uniform"),))


def priced(ratio: float, kv: float | None = None) -> Priced:
    return Priced(plan_at(ratio), ratio, ratio if kv is None else kv)


def scores_of(kept: Array, full: Array) -> Scores:
    return Scores(kept, full, kept == full, 1.0 - kept)


def judged_of(*pairs: tuple[Array, Array], floor: Array | None = None) -> Judged:
    count = len(pairs[0][0]) if pairs else 0
    return Judged(tuple(f"s{index}" for index in range(count)), tuple(scores_of(*pair) for pair in pairs), floor)


def losing(losses: int, samples: int = 100) -> tuple[Array, Array]:
    """So many right answers are spoilt, evenly spread."""
    kept = np.ones(samples)
    kept[np.linspace(0, samples - 1, losses).round().astype(int)] = 0.0
    return kept, np.ones(samples)


points = st.lists(st.tuples(st.sampled_from([1.5, 2.0, 2.5, 3.0, 4.0]), st.floats(0, 1)), max_size=9)


@given(points)
def test_retentions_fall_with_what_is_saved_and_are_the_closest_that_do(rows: list[tuple[float, float]]) -> None:
    ratios, retentions = [list(column) for column in zip(*rows, strict=True)] or [[], []]
    found = monotone_retentions(ratios, retentions)
    order = sorted(range(len(rows)), key=lambda index: ratios[index])  # stable, as plans of one cost stay in order
    assert [found[index] for index in order] == pytest.approx(falling([retentions[index] for index in order]), abs=1e-9)


def test_the_retentions_of_finalists_are_smoothed_and_those_shown_beside_them_are_not() -> None:
    plans = [priced(3.0), priced(2.0), priced(4.0), priced(2.5)]
    judged = judged_of(losing(0), losing(4), losing(10), losing(50))
    unknown = [Expectation(0.0, 0)] * 3
    tests = judged_tests(plans, judged, goal(), seed=0, expected=unknown)
    assert [test.retention for test in tests] == pytest.approx([0.98, 0.98, 0.9, 0.5])
    assert [test.safe for test in tests] == [True, True, False, False]
    assert [test.agreement for test in tests] == pytest.approx([1.0, 0.96, 0.9, 0.5])
    assert [test.plan for test in tests] == [one.plan for one in plans]
    assert tests[0].safe_share == 1.0 and tests[3].safe_share == 0.0 < tests[1].safe_share < 1.0
    assert {test.samples for test in tests} == {100}
    assert [test.compared_only for test in tests] == [False, False, False, True]


def test_what_the_search_expected_counts_half() -> None:
    judged = judged_of(losing(10, 60))
    (test,) = judged_tests([priced(3.0)], judged, goal(), seed=0, expected=[Expectation(0.05, 40)])
    assert test.retention == pytest.approx((60 * (50 / 60) + 20 * 0.95) / 80)
    assert test.agreement == pytest.approx(50 / 60)


def pruning_test(ratio: float, retention: float, kv: float | None = None, drop: float = 0.0) -> PruningTest:
    return PruningTest(
        **priced(ratio, kv)._asdict(),
        agreement=retention,
        log_likelihood_drop=drop,
        safe=retention >= TARGET,
        retention=retention,
    )


TESTS = [pruning_test(ratio, kept) for ratio, kept in ((4.0, 0.8), (3.0, 0.97), (2.0, 0.975), (2.2, 0.99), (1.5, 0.96))]


@pytest.mark.parametrize(
    ("wanted", "ratio"), [(None, 3.0), (1.1, 2.2), (2.1, 2.2), (2.5, 3.0), (3.0, 3.0), (3.5, 4.0), (9.0, 4.0)]
)
def test_the_cheapest_that_keeps_enough_or_the_best_at_the_wanted_cost(wanted: float | None, ratio: float) -> None:
    assert choose([*TESTS, doing_nothing(50)], goal(wanted)).flops_ratio == ratio


def test_if_no_plan_keeps_enough_nothing_is_done() -> None:
    chosen = choose([*TESTS[:1], *TESTS[4:], doing_nothing(50)], goal())
    assert (chosen.plan, chosen.flops_ratio, chosen.retention, chosen.safe) == (NOTHING, 1.0, 1.0, True)


def test_other_costs_can_count() -> None:
    tests = [pruning_test(2.0, 0.99, kv=5.0), pruning_test(3.0, 0.98, kv=1.5)]
    by_kv = Goal(TARGET, lambda priced: priced.kv_ratio, None)
    assert choose(tests, by_kv) is tests[0] and choose(tests, goal()) is tests[1]
    assert choose(tests, Goal(TARGET, lambda priced: priced.kv_ratio, 2.0)) is tests[0]


def test_a_milder_plan_that_keeps_the_same_is_best() -> None:
    tests = [pruning_test(3.0, 0.98, drop=0.2), pruning_test(2.5, 0.98, drop=0.1)]
    assert choose(tests, goal(2.0)) is tests[1]


def test_of_plans_that_keep_the_same_at_a_wanted_cost_the_one_that_saves_least_is_taken() -> None:
    tests = [pruning_test(6.0, 0.96, drop=0.0), pruning_test(4.1, 0.96, drop=0.1), pruning_test(3.9, 0.97)]
    assert choose(tests, goal(4.0)) is tests[1]


@pytest.mark.parametrize(("ratio", "kept", "drop", "index"), [
    (2.9, 0.99, 0.1, 1),  # keeps more and is nearly as cheap
    (2.8, 0.99, 0.1, 0),  # not as cheap
    (2.9, 0.98, 0.1, 1),  # keeps the same and changes likelihood less
    (2.9, 0.98, 0.3, 0),
    (2.9, 0.975, 0.1, 0),
])  # fmt: skip
def test_of_plans_that_cost_nearly_the_same_the_one_that_loses_least_is_taken(
    ratio: float, kept: float, drop: float, index: int
) -> None:
    tests = [pruning_test(3.0, 0.98, drop=0.2), pruning_test(ratio, kept, drop=drop), pruning_test(3.1, 0.9)]
    assert choose([*tests, doing_nothing(50)], goal()) is tests[index]


@pytest.mark.parametrize(
    ("ratios", "sequence"),
    [
        ([8.0], [8.0]),
        ([1.5, 8.0], [8.0]),  # milder than a third of the way is too mild to be of use
        ([2.0, 4.0, 8.0], [2.0, 4.0, 8.0]),
        ([2.0, 3.0, 4.0, 6.0, 8.0], [2.0, 4.0, 8.0]),
        ([5.0, 6.0, 8.0], [5.0, 6.0, 8.0]),
        ([2.0, 4.0, 8.0, 9.0], [2.0, 4.0, 8.0]),
    ],
)
def test_milder_plans_at_evenly_spaced_costs_are_tested_first(ratios: list[float], sequence: list[float]) -> None:
    """With 8 as the boldest, spaced by factors of 2, of those that save at least as much the one that keeps most."""
    tests = [pruning_test(ratio, 1.0 - ratio / 100) for ratio in reversed(ratios)]
    chosen = next(test for test in tests if test.flops_ratio == 8.0)
    found = sequence_of([*tests, doing_nothing(9)], chosen, goal())
    assert [test.flops_ratio for test in found] == sequence and found[-1] is chosen


def test_a_plan_that_keeps_more_though_it_saves_more_goes_first_into_the_sequence() -> None:
    tests = [pruning_test(8.0, 0.9), pruning_test(5.0, 0.99), pruning_test(2.0, 0.95)]
    assert [test.flops_ratio for test in sequence_of(tests, tests[0], goal())] == [5.0, 8.0]


def test_doing_nothing_needs_no_test() -> None:
    nothing = doing_nothing(9)
    assert sequence_of([*TESTS, nothing], nothing, goal()) == []


@given(st.lists(st.tuples(st.floats(1.01, 9.0), st.floats(0, 1)), min_size=1, max_size=8, unique_by=lambda row: row[0]))
def test_sequences_go_from_mild_to_bold_and_end_with_the_chosen_plan(rows: list[tuple[float, float]]) -> None:
    tests = [pruning_test(*row) for row in rows]
    for chosen in tests:
        found = sequence_of([*tests, doing_nothing(9)], chosen, goal())
        ratios = [test.flops_ratio for test in found]
        assert ratios == sorted(set(ratios)) and found[-1] is chosen and len(found) <= choose_plan.MILDER + 1


def certified(
    *pairs: tuple[Array, Array], target: float = TARGET, strict: bool = False, asked_for: bool = False
) -> Certified:
    """The certificate of a sequence of plans at 2, 3, 4 times fewer FLOPs."""
    plans = [priced(2.0 + place) for place in range(len(pairs))]
    return certify(plans, judged_of(*pairs), target, "graded", strict=strict, seed=0, asked_for=asked_for)


def test_a_plan_that_is_proven() -> None:
    found = certified(losing(0, 300), losing(1, 300))
    one = found.certificate
    assert (found.taken, one.proven_plan, one.proven_flops_ratio) == (1, plan_at(3.0), 3.0)
    assert (one.samples, one.samples_needed, one.score, one.confidence, one.target) == (300, None, "graded", 0.9, 0.97)
    assert one.retention == pytest.approx(299 / 300)
    assert one.proven is not None and 0.97 <= one.proven < 299 / 300
    assert one.sentence == (
        f"With 90% confidence, the plan keeps at least {one.proven:.1%} of the full model's score on data like these "
        "(99.7% on 300 held-out samples); the target of 97% is proven."
    )


def test_a_plan_that_is_neither_proven_nor_refuted_is_taken_and_says_what_would_prove_it() -> None:
    found = certified(losing(0, 200), losing(4, 200))
    one = found.certificate
    assert (found.taken, one.proven_flops_ratio) == (1, 2.0)
    assert one.samples_needed is not None and 200 < one.samples_needed < 2000
    assert one.proven is not None and 0.9 < one.proven < 0.97
    assert one.sentence.endswith(
        f"; about {one.samples_needed} samples would prove 97%. A plan at 2.00x fewer FLOPs is proven to keep 97%."
    )


def test_a_plan_below_the_target_that_is_not_refuted_could_not_be_proven_by_any_number() -> None:
    one = certified(losing(4, 100)).certificate
    assert one.samples_needed is None and one.proven_plan is None
    assert "no number of samples would prove 97% for it, and no plan that was tested" in one.sentence


def test_a_refuted_plan_is_replaced_by_the_boldest_proven_one() -> None:
    found = certified(losing(0, 300), losing(1, 300), losing(60, 300))
    assert found.taken == 1
    assert found.certificate.proven == TARGET  # it was picked by these samples, so no more is proven of it
    assert found.certificate.retention == pytest.approx(299 / 300)
    assert "; the target of 97% is proven." in found.certificate.sentence


def test_a_refuted_plan_is_replaced_by_the_boldest_that_is_not_refuted() -> None:
    found = certified(losing(2, 200), losing(4, 200), losing(40, 200), losing(60, 200))
    one = found.certificate
    assert (found.taken, one.proven_flops_ratio) == (1, 2.0)
    assert one.retention == pytest.approx(0.98)
    # It was picked among four by these samples.
    kept, full = losing(4, 200)
    order = np.random.default_rng(0).permutation(200)
    assert one.proven == risk.proven_ratio(kept[order], full[order], 0.975)
    assert one.proven < risk.proven_ratio(kept[order], full[order])
    assert f"(98.0% on 200 held-out samples); about {one.samples_needed} samples would prove 97%" in one.sentence


def test_if_all_plans_are_refuted_nothing_is_done() -> None:
    found = certified(losing(50, 300), losing(60, 300))
    one = found.certificate
    assert (found.taken, one.retention, one.proven, one.proven_plan, one.samples_needed) == (None, 1.0, 1.0, None, None)
    assert one.sentence == (
        "No plan that was tested is proven to keep 97% by 300 held-out samples, so the plan changes nothing."
    )


def test_a_plan_that_was_asked_for_is_taken_though_it_is_refuted() -> None:
    found = certified(losing(0, 300), losing(60, 300), asked_for=True)
    assert (found.taken, found.certificate.proven_flops_ratio) == (1, 2.0)
    assert found.certificate.proven is not None and found.certificate.proven < 0.8
    assert certified(losing(0, 300), losing(60, 300), asked_for=True, strict=True).taken == 0


def test_strict_takes_nothing_that_is_not_proven() -> None:
    assert certified(losing(0, 200), losing(4, 200), strict=True).taken == 0
    assert certified(losing(4, 200), strict=True).taken is None
    assert certified(losing(1, 300), strict=True).taken == 0


def test_the_first_plan_that_is_not_proven_ends_the_sequence() -> None:
    """Though a bolder one would be: testing it would need more confidence."""
    one = certified(losing(30, 300), losing(0, 300)).certificate
    assert one.proven_plan is None and one.proven is not None and one.proven > TARGET


def test_without_held_out_samples_nothing_is_proven() -> None:
    empty = np.zeros(0)
    for strict in (False, True):
        found = certified((empty, empty), strict=strict)
        one = found.certificate
        assert (found.taken, one.samples, one.retention, one.proven, one.proven_plan) == (0, 0, None, None, None)
        assert one.sentence == "No sample was held out, so nothing is proven about the plan."


def test_an_empty_sequence_is_a_plan_that_does_nothing() -> None:
    found = certify([], Judged(("a", "b"), (), None), TARGET, "likelihood", strict=True, seed=0)
    assert (found.taken, found.certificate.proven, found.certificate.score) == (None, 1.0, "likelihood")


@pytest.mark.parametrize(("target", "text"), [(0.97, "97%"), (0.975, "97.5%"), (0.999, "99.9%"), (1.0, "100%")])
def test_a_target_is_named_as_it_is(target: float, text: str) -> None:
    sentences = [certified(losing(lost, 100), target=target).certificate.sentence for lost in (2, 20)]
    assert f"would prove {text}" in sentences[0] or f"target of {text}" in sentences[0]
    assert "100%" not in sentences[0] or text == "100%"


def test_held_out_results_stand_with_the_plans_that_were_tested() -> None:
    tests = [pruning_test(2.0, 0.99), pruning_test(4.0, 0.9), pruning_test(3.0, 0.98)]
    sequence = [tests[0], tests[2]]
    found = with_held_out(tests, sequence, judged_of(losing(0, 100), losing(3, 100)), seed=0)
    assert [test.flops_ratio for test in found] == [4.0, 3.0, 2.0]
    assert [test.held_out_retention for test in found] == [None, pytest.approx(0.97), 1.0]
    assert [test.held_out_agreement for test in found] == [None, pytest.approx(0.97), 1.0]
    assert found[2].proven is not None and found[1].proven is not None
    assert 0.8 < found[1].proven < found[2].proven < 1.0 and found[0].proven is None
    untouched = with_held_out(tests, sequence, judged_of(losing(0, 0), losing(0, 0)), seed=0)
    assert {test.proven for test in untouched} == {None}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retentions are looked for among few, and no number of samples is estimated: neither has to do with coverage."""
    ratios = [0.0, 0.5, 0.8, 0.88, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97, 0.975, 0.98, 0.985, 0.99, 0.995, 1.0]
    monkeypatch.setattr(risk, "RATIOS", np.array(ratios))
    monkeypatch.setattr(choose_plan, "samples_to_prove", lambda *_, **__: None)


def false_statements(
    populations: Sequence[Population], *, strict: bool, nested: bool = False, draws: int = 600, samples: int = 225
) -> tuple[int, int, int]:
    """Of so many draws: false statements about the taken plan, about the proven one, and plans taken as chosen.

    Args:
        nested: whether the samples that a milder plan spoils are among those that bolder ones spoil.
    """
    generator, truths = np.random.default_rng(0), [one.retention for one in populations]
    plans = [priced(2.0 + place) for place in range(len(populations))]
    about_taken = about_proven = unchanged = 0
    for draw in range(draws):
        places = generator.random((1 if nested else len(populations), samples))
        judged = judged_of(*(one.at(row) for one, row in zip(populations, cycle(places))))
        found = certify(plans, judged, TARGET, "graded", strict=strict, seed=draw)
        one = found.certificate
        assert one.proven is not None
        true = 1.0 if found.taken is None else truths[found.taken]
        about_taken += one.proven > true
        about_proven += any(one.proven_plan == plan.plan and truths[place] < TARGET for place, plan in enumerate(plans))
        unchanged += found.taken == len(plans) - 1
    return about_taken, about_proven, unchanged


JUST_BELOW = binary(0.9699)
SEQUENCES = {
    "all just below the target": [JUST_BELOW] * 3,
    "the boldest just below it": [binary(0.998), binary(0.99), JUST_BELOW],
    "one in the middle just below it": [binary(0.995), JUST_BELOW, binary(0.99)],
    "the boldest somewhat below it": [JUST_BELOW, JUST_BELOW, binary(0.9399)],
    "the boldest far below it": [JUST_BELOW, JUST_BELOW, binary(0.8999)],
    "graded": [POPULATIONS["almost always no loss"], POPULATIONS["grades with gains and losses"]],
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("populations", SEQUENCES.values(), ids=SEQUENCES)
@pytest.mark.parametrize("nested", [False, True], ids=["losses on unlike samples", "losses on the same samples"])
@pytest.mark.parametrize("strict", [False, True], ids=["", "strict"])
def test_certificates_are_seldom_false(populations: list[Population], nested: bool, strict: bool) -> None:
    """With several plans in the sequence, and with the replacement of a plan that is refuted or not proven."""
    about_taken, about_proven, _ = false_statements(populations, strict=strict, nested=nested)
    assert about_proven <= most_failures(600)
    # A refuted plan is replaced by one about which another statement is made. Together they are false more often than
    # each, if a milder plan that is almost good enough and the refuted one have nothing to do with each other.
    two = not strict and not nested
    assert about_taken <= most_failures(600, 0.15 if two else 0.1)


@pytest.mark.usefixtures("quick")
def test_mild_plans_are_proven_and_bad_ones_replaced_in_most_draws() -> None:
    mild = [binary(0.9995), binary(0.999), binary(0.996)]
    about_taken, _, unchanged = false_statements(mild, strict=True, draws=200, samples=300)
    assert unchanged > 0.75 * 200 and about_taken <= most_failures(200)
    _, _, kept = false_statements([binary(0.999), binary(0.9)], strict=False, draws=100)
    assert kept < 10


def test_as_many_samples_as_are_said_to_be_needed_prove_it_in_most_draws() -> None:
    needed = certified(losing(4, 300)).certificate.samples_needed
    assert needed is not None
    kept, full = losing(4, 300)
    draws = np.random.default_rng(0).integers(300, size=(300, needed))
    judged = [judged_of((kept[draw], full[draw])) for draw in draws]
    proven = [one.scores[0].proves(TARGET) for one in judged]
    assert 0.7 <= np.mean(proven) <= 0.95
