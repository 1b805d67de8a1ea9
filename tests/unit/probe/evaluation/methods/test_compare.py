"""A comparison of methods on a random model against the same runs one by one; what does not fit is listed."""

from pathlib import Path
from typing import Any

import pytest

from halfv_core import Keep, Plan, Profile
from halfv_core.errors import HalfVError, PlanError, UnsupportedError
from halfv_core.methods import METHODS, Method, Target
from halfv_core.models import LoadedModel, load_model
from probe import load_samples
from probe.data.samples import Sample
from probe.evaluation.evaluate import evaluate
from probe.evaluation.methods import MethodComparison, compare_methods, runs
from probe.evaluation.methods.entrants import budgets_of, chosen_methods
from tests.checkpoints import save_checkpoint
from tests.comparisons import comparison
from tests.unit.probe.calibration.test_calibrate import write_samples
from tests.unit.probe.evaluation.test_ablation import tiny_profile

NAMES = ("random", "uniform")
BUDGET = 1.5


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(str(save_checkpoint("llava", tmp_path_factory.mktemp("model"))), device="cpu")


@pytest.fixture(scope="module")
def samples(loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Samples, most of which have the full model's own answer as their reference."""
    found = load_samples(write_samples(tmp_path_factory.mktemp("data"), 6))
    answers = evaluate(loaded.model, loaded.processor, found, Plan(()), max_new_tokens=3).answers
    return [
        sample.model_copy(update={"answers": (answer if index % 4 else "w3",)})
        for index, (sample, answer) in enumerate(zip(found, answers, strict=True))
    ]


@pytest.fixture(scope="module")
def profile(loaded: LoadedModel) -> Profile:
    return tiny_profile(loaded.model)


def run(loaded: LoadedModel, samples: list[Sample], **options: Any) -> MethodComparison:
    settings = {"budgets": (BUDGET,), "methods": NAMES, "max_new_tokens": 3} | options
    return compare_methods(loaded.model, loaded.processor, samples, **settings)


@pytest.fixture(scope="module")
def found(loaded: LoadedModel, samples: list[Sample], profile: Profile) -> MethodComparison:
    return run(loaded, samples, profile=profile, budgets=(BUDGET, 50.0))


def timeless(found: MethodComparison) -> dict[str, Any]:
    """The result without measured times."""
    data = found.model_dump(exclude={"created", "seconds", "resumed"})
    for row in data["rows"]:
        for name in ("prefill_seconds", "prefill_ratio", "selection_share"):
            del row[name]
    return data


def test_each_row_is_what_its_plan_does_alone(
    found: MethodComparison, loaded: LoadedModel, samples: list[Sample]
) -> None:
    labels = [row.label for row in found.rows]
    assert labels[:2] == ["full", "profile"] and {"random 1.5x", "uniform 1.5x"} <= set(labels)
    full = evaluate(loaded.model, loaded.processor, samples, Plan(()), max_new_tokens=3)
    for index, row in enumerate(found.rows):
        alone = evaluate(loaded.model, loaded.processor, samples, row.plan, max_new_tokens=3)
        assert tuple(one.answers[index] for one in found.questions) == alone.answers
        assert tuple(one.grades[index] for one in found.questions) == alone.grades
        assert row.by_family == alone.accuracy
        assert (row.accuracy, row.flops_ratio) == pytest.approx((alone.mean, alone.flops_ratio))
        assert row.retention == pytest.approx(alone.mean / full.mean)
        assert row.agreement == pytest.approx(
            sum(a == b for a, b in zip(alone.answers, full.answers, strict=True)) / len(samples)
        )


def test_the_full_model_is_the_measure_and_budgets_are_reached(found: MethodComparison, profile: Profile) -> None:
    assert (found.full.retention, found.full.retention_interval, found.full.flops_ratio) == (1.0, (1.0, 1.0), 1.0)
    assert (found.full.kv_ratio, found.full.prefill_ratio, found.full.agreement) == (1.0, 1.0, 1.0)
    assert found.rows[1].plan == profile.plan
    assert (found.rows[2].label, found.rows[2].plan) == ("calibrated 1.5x", profile.pruning_tests[-1].plan)
    for row in found.rows[3:]:
        assert row.budget == BUDGET and row.is_control
        assert row.flops_ratio == pytest.approx(BUDGET, rel=0.1)
        assert row.visual_flops_ratio > row.flops_ratio > row.model_flops_ratio > 1
        assert row.kv_ratio > 1 and row.prefill_seconds > 0 and 0 < row.selection_share < 1


def test_a_budget_out_of_reach_is_listed(found: MethodComparison) -> None:
    refused = {(one.method, one.budget): one.reason for one in found.refused}
    assert {("random", 50.0), ("uniform", 50.0)} <= refused.keys()
    assert "cannot be set to this budget" in refused["random", 50.0] and "\n" not in refused["random", 50.0]


class OwnSettings(METHODS["random"]):  # type: ignore[misc]
    """A method without a knob."""

    source = "a paper"

    def default(self, target: Target) -> Plan:
        return Plan((Keep(layer=2, keep_ratio=0.5, selector="random"),))

    def scaled(self, target: Target, knob: float) -> Plan:
        raise PlanError("it decides in the run how much it prunes")


class OtherFamilies(METHODS["random"]):  # type: ignore[misc]
    """A method that is not for this family."""

    source = "a paper"

    def refusal(self, target: Target) -> str | None:
        return f"not for {target.model_type}"


class DeepLayers(METHODS["random"]):  # type: ignore[misc]
    """A method whose plan the model does not take."""

    source = "a paper"

    def scaled(self, target: Target, knob: float) -> Plan:
        return Plan((*super().scaled(target, knob).interventions, Keep(layer=99, keep_ratio=0.0)))


def with_methods(monkeypatch: pytest.MonkeyPatch, **methods: type[Method]) -> None:
    for name, method in methods.items():
        monkeypatch.setitem(METHODS._items, name, method)


def test_no_method_is_silently_missing(
    loaded: LoadedModel, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    with_methods(monkeypatch, own=OwnSettings, others=OtherFamilies, deep=DeepLayers)
    found = run(loaded, samples[:2], methods=("own", "others", "deep"))
    own = next(row for row in found.rows if row.method == "own")
    assert own.budget is None and own.label == "own" and not own.is_control
    reasons = {(one.method, one.budget): one.reason for one in found.refused}
    assert reasons.keys() == {("deep", BUDGET), ("others", None), ("own", BUDGET)}
    assert reasons["others", None] == "not for llava"
    assert "decides in the run" in reasons["own", BUDGET]
    assert reasons["deep", BUDGET].startswith("sample 's0'") and "99" in reasons["deep", BUDGET]
    assert {row.method for row in found.rows} >= {"full", "own", *NAMES}


def test_a_plan_that_fails_on_a_later_sample_is_refused_and_the_others_go_on(
    loaded: LoadedModel, samples: list[Sample], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outcome, ran = runs.Runner._outcome, []

    def failing(self: runs.Runner, some: list[Sample], together: Any, plan: Plan) -> Any:
        if plan.keeps and plan.keeps[0].selector == "uniform":
            ran.append(some[0].id)
            if some[0].id == "s2":
                raise UnsupportedError("too many images")
        return outcome(self, some, together, plan)

    monkeypatch.setattr(runs.Runner, "_outcome", failing)
    found = run(loaded, samples, journal=tmp_path / "j")
    assert "random" in [row.method for row in found.rows] and "uniform" not in [row.method for row in found.rows]
    assert [one.reason for one in found.refused] == ["sample 's2': too many images"]
    assert ran == ["s0", "s0", "s1", "s2"]
    again = run(loaded, samples, journal=tmp_path / "j")
    assert ran == ["s0", "s0", "s1", "s2", "s0"]  # only the try-out
    assert timeless(again) == timeless(found)


def test_batches_change_nothing_but_times(loaded: LoadedModel, samples: list[Sample], profile: Profile) -> None:
    one_by_one = run(loaded, samples, profile=profile)
    together = run(loaded, samples, profile=profile, batch=4)
    assert timeless(together) == timeless(one_by_one) | {"batch": 4}


def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    loaded: LoadedModel, samples: list[Sample], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = run(loaded, samples, batch=2)
    measure, ran = runs.Runner.run, []

    def watched(self: runs.Runner, index: int, entrants: Any, some: list[Sample]) -> Any:
        ran.append([sample.id for sample in some])
        if len(ran) == 3:
            raise KeyboardInterrupt
        return measure(self, index, entrants, some)

    monkeypatch.setattr(runs.Runner, "run", watched)
    with pytest.raises(KeyboardInterrupt):
        run(loaded, samples, batch=2, journal=tmp_path / "j")
    again = run(loaded, samples, batch=2, journal=tmp_path / "j")
    assert again.resumed == 2
    assert ran[3:] == [["s0"], ["s2", "s3"], ["s4", "s5"]]  # the try-out, and what was missing
    assert timeless(again) == timeless(whole)
    with pytest.raises(HalfVError, match="unfinished work with another batch"):
        run(loaded, samples, batch=3, journal=tmp_path / "j")


def test_plans_of_an_earlier_comparison_do_not_run_again(
    found: MethodComparison,
    loaded: LoadedModel,
    samples: list[Sample],
    profile: Profile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ran: list[Plan] = []
    outcome = runs.Runner._outcome

    def noted(self: runs.Runner, some: Any, together: Any, plan: Plan) -> runs.Outcome:
        ran.append(plan)
        return outcome(self, some, together, plan)

    monkeypatch.setattr(runs.Runner, "_outcome", noted)
    rows = tuple(row for row in found.rows if row.method != "uniform")
    earlier = found.model_copy(update={"rows": rows}).without_questions()
    again = run(loaded, samples, profile=profile, budgets=(BUDGET, 50.0), earlier=earlier)
    assert all(plan in ran for plan in [Plan(()), *(row.plan for row in found.rows if row.method == "uniform")])
    assert not any(row.plan in ran for row in rows[1:])
    assert timeless(again) == timeless(found.without_questions())
    renamed = rows[-1].model_copy(update={"method": "other", "budget": 9.0, "setting": "layer 7"})
    by_plan = earlier.model_copy(update={"rows": (*rows[:-1], renamed)})
    assert timeless(run(loaded, samples, profile=profile, budgets=(BUDGET, 50.0), earlier=by_plan)) == timeless(again)
    with pytest.raises(HalfVError, match="another dtype; got bfloat16; expected float32; run all plans"):
        run(loaded, samples, earlier=earlier.model_copy(update={"dtype": "bfloat16"}))


def test_a_record_comes_back_as_it_was(found: MethodComparison, tmp_path: Path) -> None:
    found.save(tmp_path / "m.json")
    assert MethodComparison.load(tmp_path / "m.json") == found
    short = found.without_questions()
    short.save(tmp_path / "short.json")
    assert MethodComparison.load(tmp_path / "short.json").questions == () and short.rows == found.rows


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "cannot read comparison"), ("{", "is not valid"), ('{"kind": "method comparison"}', "model_id")],
)
def test_a_bad_record_is_one_line(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "m.json").write_text(text)
    with pytest.raises(HalfVError, match=message) as error:
        MethodComparison.load(tmp_path / "m.json")
    assert "\n" not in str(error.value)


def test_a_record_with_a_bad_plan_is_one_line(tmp_path: Path) -> None:
    text = comparison().model_dump_json().replace('"keep_ratio":0.45', '"keep_ratio":7', 1)
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(HalfVError, match="keep_ratio"):
        MethodComparison.load(tmp_path / "m.json")


def test_what_is_asked_for_is_checked() -> None:
    assert budgets_of([3, 2, 2]) == (2, 3)
    for ratios in ([], [1.0], [2, float("inf")], [float("nan")]):
        with pytest.raises(HalfVError, match="numbers above 1"):
            budgets_of(ratios)
    assert set(chosen_methods(["all"])) == set(chosen_methods([])) == set(METHODS)
    assert {"random", "uniform"} <= set(chosen_methods(["uniform"]))
    with pytest.raises(PlanError, match="unknown method; got 'fast'"):
        chosen_methods(["fast"])
