"""Tuning against every setting evaluated alone: the best is compared, all are recorded, and a stop costs nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from halfv_core import Keep, Plan, Profile
from halfv_core.errors import DataError, HalfVError
from halfv_core.method_records import StageBegin, VisiPrunerFindings
from halfv_core.methods import METHODS, Measured, Method, Target, plan_at
from halfv_core.models import LoadedModel
from probe.data.samples import Sample
from probe.evaluation.evaluate import evaluate
from probe.evaluation.methods import MethodComparison
from probe.evaluation.methods.entrants import Entrant, entrants, plan_of_frontier
from probe.evaluation.methods.records import Row
from probe.evaluation.methods.tuning import Trial, Tuner, TuningSet, _best, _is_open, tuning_journal
from tests.contract.test_methods import TARGETS
from tests.unit.probe.evaluation.methods.test_compare import (
    BUDGET,
    loaded,
    profile,
    run,
    samples,
    timeless,
    with_methods,
)

__all__ = ["loaded", "profile", "samples"]

METHODS_TUNED = ("fastv", "visionzip")


@pytest.fixture(scope="module")
def tuning(samples: list[Sample]) -> TuningSet:
    """Questions on other images than those of the comparison, most of which the full model answers right."""
    return TuningSet(samples[2:], "data.jsonl", 3)


@pytest.fixture(scope="module")
def found(loaded: LoadedModel, samples: list[Sample], tuning: TuningSet) -> MethodComparison:
    """A method that prunes in the decoder, and one that looks at the vision tower, which no replay runs."""
    return run(loaded, samples[:2], methods=METHODS_TUNED, tuning=tuning, data="data.jsonl")


def row_of(found: MethodComparison, method: str) -> Row:
    return next(row for row in found.rows if row.method == method)


def test_every_setting_has_the_score_of_its_plan_alone(
    found: MethodComparison, loaded: LoadedModel, tuning: TuningSet
) -> None:
    """Read by teacher forcing and generated where the answer changes: the same as generated throughout."""
    tried = [one for row in found.rows for one in row.candidates]
    assert {row.method for row in found.rows if row.candidates} == {*METHODS_TUNED, "random", "uniform"}
    for one in tried:
        alone = evaluate(loaded.model, loaded.processor, tuning.samples, one.plan, max_new_tokens=3)
        assert one.accuracy == pytest.approx(alone.mean) and one.failure is None
    assert len({one.accuracy for one in tried}) > 1
    assert found.tuned_on is not None
    full = evaluate(loaded.model, loaded.processor, tuning.samples, Plan(()), max_new_tokens=3)
    assert found.tuned_on.accuracy == pytest.approx(full.mean)
    assert found.tuned_on.runs == len(tuning.samples) * len(tried)


def test_the_best_setting_is_compared_and_the_others_are_recorded(found: MethodComparison, loaded: LoadedModel) -> None:
    target = Target.of(loaded.model.config, found.visual_tokens, found.text_tokens)
    for row in found.rows:
        if not row.candidates:
            assert row.method in ("full", "random-input") and row.setting == ""
            continue
        expected = {
            variant.setting: plan_at(variant, target, BUDGET) for variant in METHODS[row.method]().variants(target)
        }
        assert {one.setting: one.plan for one in row.candidates} == expected
        assert row.chosen is not None and row.plan == row.chosen.plan
        assert row.chosen.accuracy == max(one.accuracy for one in row.candidates if one.accuracy is not None)
        assert row.by_default is row.candidates[0]


def test_equal_scores_are_told_apart_by_likelihood_then_by_order() -> None:
    group = tuple(
        Entrant("m", "M", False, 2.0, Plan((Keep(layer=layer, keep_ratio=0.5),)), setting)
        for layer, setting in ((1, ""), (2, "layer 2"), (3, "layer 3"))
    )

    def best(grades: list[list[float]], likelihoods: list[float], failed: str | None = None) -> str:
        trials = [
            Trial(
                id=str(number),
                family="a",
                full=1.0,
                grades={one.key: grade for one, grade in zip(group, row, strict=True) if one.setting != failed},
                log_likelihoods={
                    one.key: value for one, value in zip(group, likelihoods, strict=True) if one.setting != failed
                },
                failures={one.key: "no" for one in group if one.setting == failed},
            )
            for number, row in enumerate(grades)
        ]
        return _best(group, trials).setting

    assert best([[1, 0, 0], [0, 1, 1]], [-2.0, -1.0, -1.0]) == "layer 2"
    assert best([[1, 0, 0], [0, 1, 1]], [-1.0, -1.0, -1.0]) == ""
    assert best([[0.1, 0.2, 0.3], [0.2, 0.1, 0.3]], [0.0, 0.0, -9.0]) == "layer 3"
    assert best([[0.1, 0.2, 0.3], [0.2, 0.1, 0.3]], [0.0, 0.0, -9.0], failed="layer 3") == ""


class Deeper(METHODS["random"]):  # type: ignore[misc]
    """A method with a setting that this model does not take."""

    source = "a paper"

    def variants(self, target: Target) -> "tuple[Method, ...]":
        return (self, TooDeep())

    def scaled(self, target: Target, knob: float) -> Plan:
        return Plan((Keep(layer=1, keep_ratio=knob, selector="random"),))


class TooDeep(Deeper):
    """A plan that is valid, and at the budget, but for a deeper model."""

    setting = "layer 99"

    def scaled(self, target: Target, knob: float) -> Plan:
        return Plan((*super(Deeper, self).scaled(target, knob).interventions, Keep(layer=99, keep_ratio=0.0)))


class OnlyDeep(METHODS["fastv"]):  # type: ignore[misc]
    """A method whose default cannot reach the budget."""

    def variants(self, target: Target) -> "tuple[Method, ...]":
        return (type(self)(layer=3), type(self)(layer=1))


def test_a_setting_that_fails_is_recorded_and_never_chosen(
    loaded: LoadedModel, samples: list[Sample], tuning: TuningSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_methods(monkeypatch, deeper=Deeper)
    found = row_of(run(loaded, samples[:2], methods=("deeper",), tuning=tuning), "deeper")
    default, failed = found.candidates
    assert found.setting == "" and default.accuracy is not None
    assert failed.accuracy is None and failed.failure is not None and failed.failure.startswith("sample 's2'")
    assert Row.model_validate_json(found.model_dump_json()) == found


def test_a_setting_may_reach_a_budget_that_the_default_does_not(
    loaded: LoadedModel, samples: list[Sample], tuning: TuningSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_methods(monkeypatch, onlydeep=OnlyDeep)
    found = run(loaded, samples[:2], methods=("onlydeep",), tuning=tuning, budgets=(2.5,))
    row = row_of(found, "onlydeep")
    assert row.setting == "layer 1" and [one.setting for one in row.candidates] == ["layer 1"]
    assert row.plan.first_layer == 1 and row.flops_ratio == pytest.approx(2.5, rel=0.1)
    assert "onlydeep" not in {one.method for one in found.refused}


def test_an_interrupted_tuning_ends_like_an_uninterrupted_one(
    loaded: LoadedModel,
    samples: list[Sample],
    tuning: TuningSet,
    found: MethodComparison,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    attempt, ran = Tuner._try, []

    def watched(self: Tuner, sample: Sample, *rest: Any) -> Any:
        ran.append(sample.id)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return attempt(self, sample, *rest)

    monkeypatch.setattr(Tuner, "_try", watched)
    options = {"methods": METHODS_TUNED, "tuning": tuning, "data": "data.jsonl", "journal": tmp_path / "j"}
    with pytest.raises(KeyboardInterrupt):
        run(loaded, samples[:2], **options)
    assert timeless(run(loaded, samples[:2], **options)) == timeless(found)
    assert ran == ["s2", "s3", "s4", "s4", "s5"]
    assert timeless(run(loaded, samples[:2], **options)) == timeless(found)
    assert len(ran) == 5 and tuning_journal(tmp_path / "j").exists()
    with pytest.raises(HalfVError, match="unfinished work with another settings"):
        run(loaded, samples[:2], **options | {"methods": ("divprune",)})


def test_samples_in_both_are_counted(
    loaded: LoadedModel, samples: list[Sample], tuning: TuningSet, found: MethodComparison
) -> None:
    assert found.tuned_on is not None and found.tuned_on.shared == 0
    assert found.tuned_on.sample_ids == ("s2", "s3", "s4", "s5") and found.tuned_on.seed == 3
    same = run(loaded, samples[1:4], tuning=tuning, data="data.jsonl").tuned_on
    other = run(loaded, samples[1:4], tuning=tuning, data="other.jsonl").tuned_on
    assert same is not None and same.shared == 2
    assert other is not None and other.shared == 0


def test_tuning_needs_reference_answers(loaded: LoadedModel, samples: list[Sample]) -> None:
    blank = [sample.model_copy(update={"answer": None, "answers": ()}) for sample in samples[:2]]
    for some in ([], blank):
        with pytest.raises(DataError, match="accuracy needs samples with reference answers"):
            run(loaded, samples[:2], tuning=TuningSet(some))


def test_without_tuning_methods_have_their_default_settings(loaded: LoadedModel, samples: list[Sample]) -> None:
    found = run(loaded, samples[:2], methods=("fastv",))
    assert found.tuned_on is None
    assert all(row.candidates == () and row.setting == "" for row in found.rows)


def on_frontier(profile: Profile, *tests: tuple[float, float | None, float]) -> Profile:
    """The profile with a plan for each (FLOPs ratio, retention, agreement), which keeps as many percent."""
    base = profile.pruning_tests[0]
    return profile.model_copy(
        update={
            "pruning_tests": tuple(
                base.model_copy(
                    update={
                        "plan": Plan((Keep(layer=1, tokens=index + 1),)),
                        "flops_ratio": flops,
                        "retention": retention,
                        "agreement": agreement,
                    }
                )
                for index, (flops, retention, agreement) in enumerate(tests)
            )
        }
    )


@pytest.mark.parametrize(
    ("tests", "best"),
    [
        ([(2.0, 0.9, 0.0), (2.5, 0.95, 0.0), (1.9, 0.99, 0.0)], 1),
        ([(1.961, 0.99, 0.0), (2.5, 0.95, 0.0)], 0),
        ([(2.0, None, 0.9), (3.0, None, 0.8)], 0),
        ([(2.0, 0.9, 0.99), (3.0, None, 0.95)], 1),
        ([(2.0, 0.9, 0.0), (3.0, 0.9, 0.0)], 0),
        ([(1.5, 0.9, 0.0)], None),
        ([], None),
    ],
)
def test_the_best_plan_of_a_frontier_at_a_budget(
    tests: list[tuple[float, float | None, float]], best: int | None, profile: Profile
) -> None:
    plan = plan_of_frontier(on_frontier(profile, *tests), 2.0)
    assert plan == (None if best is None else Plan((Keep(layer=1, tokens=best + 1),)))


def test_plans_of_several_profiles_take_part(loaded: LoadedModel, samples: list[Sample], profile: Profile) -> None:
    first = on_frontier(profile, (1.5, 0.9, 0.9), (2.0, 0.8, 0.8))
    second = on_frontier(profile, (2.2, 0.7, 0.7))
    found = run(loaded, samples[:2], profile=first, more_profiles={"fifty": second}, budgets=(1.5, 2.0, 9.0))
    plans = {row.label: row.plan for row in found.rows}
    own = [
        "profile",
        "calibrated 1.5x",
        "calibrated 2x",
        "profile:fifty",
        "calibrated:fifty 1.5x",
        "calibrated:fifty 2x",
    ]
    assert list(plans)[1:7] == own
    assert plans["calibrated 1.5x"] == Plan((Keep(layer=1, tokens=1),))
    assert plans["calibrated 2x"] == Plan((Keep(layer=1, tokens=2),))
    assert plans["calibrated:fifty 1.5x"] == plans["calibrated:fifty 2x"] == Plan((Keep(layer=1, tokens=1),))
    reasons = {(one.method, one.budget): one.reason for one in found.refused}
    assert reasons["calibrated", 9.0] == "the plans that the calibration tried save up to 2.00x"
    assert ("calibrated:fifty", 9.0) in reasons
    names = [row.title for row in found.rows[1:7]]
    assert names[0] == "this profile" and names[3] == "the profile fifty"


def test_settings_of_one_method_at_one_budget_stand_together(profile: Profile) -> None:
    found, _ = entrants(["fastv", "vtw"], TARGETS["llava-1.5-7b"], (2.0, 3.0), {"": profile}, tuning=True)
    labels = [one.label for one in found]
    assert labels == sorted(labels, key=labels.index)
    assert len({one.key for one in found}) == len(found)
    assert labels.count("vtw 2x") == 1 and labels.count("fastv 2x") > 3


def test_settings_without_a_budget_all_stay() -> None:
    """They cost different amounts, so that tuning has nothing to choose between."""
    begin = StageBegin(layer=5, low=4, high=6, share=1.0)
    found = VisiPrunerFindings(
        hidden=0, setting=None, retention=1.0, flops_ratio=1.2, noise_floor=0.0, middle=begin, deep=begin
    )
    target = replace(TARGETS["llava-1.5-7b"], measured=Measured(visipruner=found))
    plans, refused = entrants(["visipruner"], target, (2.0, 3.0), tuning=True)
    assert [one.label for one in plans] == ["full", "visipruner", "visipruner (thresholds published)"]
    assert len({one.key for one in plans}) == 3 and {one.budget for one in refused} == {2.0, 3.0}
    assert not any(_is_open([one]) for one in plans)
