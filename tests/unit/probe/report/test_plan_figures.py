"""The charts of plans and treatments: what was tried, what is proven of it, and where the picture stops mattering."""

import pytest

from halfv_core import Freeze, Keep, Plan, Profile
from probe.report.figures import CHARTS, Subject
from probe.report.figures.frontier import COLUMNS, kept, pareto_frontier
from probe.report.figures.treatments import by_treatment
from tests import profiles, proven_profiles
from tests.unit.probe.report.figure_subjects import numbers, trace_of


def tried() -> Profile:
    """Plans and treatments judged by agreement, without a certificate."""
    profile = profiles.llava_like()
    taken = profile.pruning_tests[1].model_copy(update={"held_out_agreement": 0.95})
    other = Plan((Keep(layer=3, keep_ratio=0.75),))
    tests = tuple(
        test.model_copy(update={"plan": plan, "flops_ratio": ratio, "agreement": agreement, "safe": agreement >= 0.95})
        for test, plan, ratio, agreement in (
            (profile.pruning_tests[0], Plan((Keep(layer=3, keep_ratio=0.1),)), 5.0, 0.62),
            (taken, profile.plan, 3.3, 0.97),
            (profile.pruning_tests[0], other, 2.0, 0.96),
            (profile.pruning_tests[0], Plan(()), 1.0, 1.0),
        )
    )
    freezing = profile.saturation.tests[0]
    grid = tuple(
        freezing.model_copy(update={"plan": Plan((Freeze(layers=range(start, 32)),)), "agreement": 0.02 * start})
        for start in (8, 15, 24)
    )
    saturation = profile.saturation.model_copy(update={"grid": grid})
    return profile.model_copy(update={"pruning_tests": tests, "saturation": saturation})


@pytest.mark.parametrize("profile", [tried(), proven_profiles.proven()])
def test_the_frontier_is_what_is_unbeaten(profile: Profile) -> None:
    tests = profile.pruning_tests
    front = pareto_frontier(tests)
    for test in tests:
        beaten = any(
            other.flops_ratio >= test.flops_ratio and kept(other) >= kept(test)
            for other in tests
            if (other.flops_ratio, kept(other)) != (test.flops_ratio, kept(test))
        )
        assert (test in front) != beaten
    table = CHARTS["frontier"].table([Subject(profile)])
    assert table is not None
    assert [row[2] for row in table.rows] == [test.flops_ratio for test in tests]
    assert [row[-1] for row in table.rows] == [test.plan == profile.plan for test in tests]


def test_plans_without_a_proof_are_safe_or_not() -> None:
    profile = tried()
    figure, table = CHARTS["frontier"].make([Subject(profile)]), CHARTS["frontier"].table([Subject(profile)])
    assert figure is not None and table is not None
    for name, safe in (("safe", True), ("not safe", False)):
        points = list(zip(trace_of(figure, name).x, trace_of(figure, name).y, strict=True))
        assert points == [(test.flops_ratio, test.agreement) for test in profile.pruning_tests if test.safe == safe]
    assert (trace_of(figure, "taken").x, trace_of(figure, "held-out samples").y) == ((3.3,), (0.95,))
    assert figure.layout.yaxis.title.text == "same answers"
    assert table.columns == (
        *("model", "plan", "FLOPs ratio", "KV ratio", "agreement", "held-out agreement", "log-likelihood drop"),
        *("safe", "safe in resamples", "taken"),
    )
    resolved = {**profile.provenance.arguments_resolved, "target_retention": 0.97, "target_flops": 2.5}
    provenance = profile.provenance.model_copy(update={"arguments_resolved": resolved})
    figure = CHARTS["frontier"].make([Subject(profile.model_copy(update={"provenance": provenance}))])
    assert figure is not None
    assert [note.text for note in figure.layout.annotations] == ["safe from 95%", "target 97%", "target 2.5x"]


def test_plans_are_proven_or_only_estimated_and_methods_have_names() -> None:
    profile = proven_profiles.proven()
    figure, table = CHARTS["frontier"].make([Subject(profile)]), CHARTS["frontier"].table([Subject(profile)])
    assert figure is not None and table is not None
    points = {trace.name: list(zip(trace.x, trace.y, strict=True)) for trace in figure.data if trace.name != "frontier"}
    assert points == {
        "proven of it, 90% confidence": [(3.3, 0.978), (3.3, 0.941)],
        "proven": [(2.1, 0.991), (1.0, 1.0)],
        "by estimate": [(3.3, 0.978), (1.7, 0.993)],
        "below target": [(5.2, 0.921), (4.0, 0.958)],
        "published method": [(1.8, 0.994), (1.6, 0.9)],
        "held-out samples": [(4.0, 0.949), (3.3, 0.968), (2.1, 0.988), (1.0, 1.0)],
        "taken": [(3.3, 0.978)],
    }
    assert [hover[:13] for hover in trace_of(figure, "published method").text] == ["<b>fastv</b><", "<b>vtw</b><br"]
    assert "proven: at least 94.1%" in trace_of(figure, "taken").text[0]
    notes = {note.text: (note.x, note.y) for note in figure.layout.annotations}
    assert notes == {"target 97%": (0, 0.97), "fastv": (1.8, 0.994)}  # vtw is beaten
    assert figure.layout.yaxis.title.text == "score kept"
    for column, field in COLUMNS.items():
        at = table.columns.index(column)
        assert [row[at] for row in table.rows] == [getattr(test, field) for test in profile.pruning_tests]


def test_methods_that_are_close_share_a_label() -> None:
    profile = proven_profiles.proven()
    fastv = next(test for test in profile.pruning_tests if test.method == "fastv")
    close = fastv.model_copy(update={"method": "sparsevlm", "flops_ratio": 2.0, "retention": 0.993})
    far = fastv.model_copy(update={"method": "dart", "flops_ratio": 4.5, "retention": 0.95})
    tests = (*profile.pruning_tests, close, far)
    figure = CHARTS["frontier"].make([Subject(profile.model_copy(update={"pruning_tests": tests}))])
    assert figure is not None
    notes = {note.text: (note.x, note.y) for note in figure.layout.annotations}
    assert notes == {"target 97%": (0, 0.97), "fastv<br>sparsevlm": (1.8, 0.994), "dart": (4.5, 0.95)}


def test_what_was_proven_and_searched_is_said() -> None:
    summary = CHARTS["frontier"].summary(proven_profiles.proven())
    assert summary == (
        "With 90% confidence the plan keeps at least 94.1% of the score on data like these. 8 plans were judged: 5 "
        "reach the target by estimate, and 2 are proven to. The search predicted 1,240 plans and ran 62 of them, 1,830 "
        "runs of a plan on a sample instead of 99,200; the calibration took 33.4 plain passes a sample."
    )


def test_old_and_new_profiles_share_a_frontier() -> None:
    subjects = [Subject(tried()), Subject(proven_profiles.proven())]
    figure, table = CHARTS["frontier"].make(subjects), CHARTS["frontier"].table(subjects)
    assert figure is not None and table is not None
    assert figure.layout.yaxis.title.text == "score kept or same answers"
    assert {trace.name for trace in figure.data} >= {"llava-1.5-7b, safe", "qwen3-vl-8b, by estimate"}
    assert list(figure.layout.annotations) == []
    column = table.columns.index("retention")
    assert [row[column] for row in table.rows[:4]] == [None] * 4 and table.rows[4][column] == 0.921


def test_the_treatments_show_every_test_once() -> None:
    profile = tried()
    figure, table = CHARTS["treatments"].make([Subject(profile)]), CHARTS["treatments"].table([Subject(profile)])
    assert figure is not None and table is not None
    tests = [test for tests in by_treatment(profile).values() for test in tests]
    assert len(table.rows) == len(tests) == 4  # both tests at layer 15, freezing also from 8 and 24
    assert numbers([trace.y for trace in figure.data]) == numbers(
        [(test.agreement, test.log_likelihood_drop) for test in tests]
    )
    frozen = [trace for trace in figure.data if trace.name == "freezing all visual tokens"]
    assert frozen[0].x == (8, 15, 24) and set(frozen[0].marker.symbol) == {"circle"}
    notes = [note.text for note in figure.layout.annotations]
    assert notes == ["safe above", "safe below", "Stage III from layer 15"]


def test_causes_stand_for_the_treatments_where_they_were_measured() -> None:
    new, old = [Subject(proven_profiles.proven())], [Subject(tried())]
    assert CHARTS["treatments"].make(new) is None and CHARTS["treatments"].table(new) is None
    assert CHARTS["causes"].make(old) is None and CHARTS["causes"].table(old) is None


def test_the_causes_show_every_value_and_onset() -> None:
    profile = proven_profiles.proven()
    causes = profile.causes
    figure, table = CHARTS["causes"].make([Subject(profile)]), CHARTS["causes"].table([Subject(profile)])
    assert figure is not None and table is not None and causes is not None
    names = ("freeze all", "keep 5 %", "drop all")
    for name, curve in zip(names, causes.curves, strict=True):
        shown = trace_of(figure, name)
        assert shown.x == causes.layers
        assert shown.y == tuple(max(value, -0.2) for value in curve.use_kept)
        assert list(map(tuple, shown.customdata)) == list(zip(curve.loss, curve.use_kept, strict=True))
        rows = [row for row in table.rows if row[0] == name]
        assert [row[1:4] for row in rows] == list(zip(causes.layers, curve.loss, curve.use_kept, strict=True))
        assert {row[4:] for row in rows} == {(curve.onset, curve.earliest, curve.flops_ratio)}
        onset = trace_of(figure, f"onset, {name}")
        assert (onset.x, onset.error_x.arrayminus, onset.y) == (
            (curve.onset,),
            (curve.onset - curve.earliest,),  # type: ignore[operator]
            (name,),
        )
    assert trace_of(figure, "freeze all, lower still").x == (1,)
    assert "90% interval 2–9<br>alone 2.31x fewer FLOPs" in trace_of(figure, "onset, keep 5 %").text[0]
    notes = {note.text: note.x for note in figure.layout.annotations}
    assert notes == {"90% kept": 1, "Stage III from layer 9": 9, "by the entropy curve: layer 15": 15}
    lines = {(shape.x0, shape.line.dash) for shape in figure.layout.shapes if shape.x0 == shape.x1}
    assert lines == {(9, "solid"), (15, "dot")}


def test_causes_that_show_nothing_are_drawn_and_say_so() -> None:
    profile = proven_profiles.not_needed()
    figure = CHARTS["causes"].make([Subject(profile)])
    assert figure is not None and profile.causes is not None
    assert [trace.text[0] for trace in figure.data if trace.mode == "text"] == ["not known"] * 3
    assert CHARTS["causes"].summary(profile) == profile.causes.sentence


@pytest.mark.parametrize(
    ("proposed", "found", "expected"),
    [
        (9, 9, ["90% kept", "Stage III, by entropy too"]),
        (None, 9, ["90% kept", "Stage III from layer 9"]),
        (15, None, ["90% kept", "by the entropy curve: layer 15"]),
        (None, None, ["90% kept"]),
    ],
)
def test_each_start_of_stage_three_has_one_line(proposed: int | None, found: int | None, expected: list[str]) -> None:
    profile = proven_profiles.proven()
    assert profile.causes is not None
    causes = profile.causes.model_copy(update={"by_curves": proposed})
    stages = profile.stages.model_copy(update={"saturation_start": found})
    figure = CHARTS["causes"].make([Subject(profile.model_copy(update={"causes": causes, "stages": stages}))])
    assert figure is not None
    assert [note.text for note in figure.layout.annotations] == expected
