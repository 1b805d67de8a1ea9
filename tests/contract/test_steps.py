"""The contract of every step, which lets the runner measure samples in any order and in any process."""

import json
import math
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import probe.calibration.calibrate  # noqa: F401 - the steps that it takes are tested here
from halfv_core.cost import DecoderShape
from halfv_core.method_records import StageBegin, VisiPrunerFindings
from halfv_core.models import load_model
from halfv_core.plan import Freeze, Keep, Plan
from probe.analysis.partners import partners_of
from probe.analysis.step import ProbeSamples
from probe.analyzers import one_run, variants  # noqa: F401 - their probes register themselves
from probe.calibration.budget.budget import CostEstimates, Work
from probe.calibration.budget.mean_sample import MeanSample
from probe.calibration.settings import Settings
from probe.calibration.steps.answer import Answer
from probe.calibration.steps.causal_curves import CausalCurves, CausalCurvesAt
from probe.calibration.steps.curves import Curves
from probe.calibration.steps.examples import Examples
from probe.calibration.steps.head_importance import HeadImportance
from probe.calibration.steps.held_out_answers import HeldOutAnswers
from probe.calibration.steps.held_out_check import HeldOutCheck
from probe.calibration.steps.method_step import MethodStep
from probe.calibration.steps.plans import Plans
from probe.calibration.steps.search_round import SearchRound
from probe.calibration.steps.self_checks import SelfChecks
from probe.calibration.steps.step import Item, ProbedModel, Step
from probe.calibration.steps.token_removal import TokenRemoval
from probe.calibration.steps.utility import MarginalUtility
from probe.calibration.steps.visipruner_settings import ShallowLayers, Thresholds, settings_for
from probe.calibration.steps.withdrawal import Withdrawal
from probe.data.samples import Sample, load_samples
from tests.checkpoints import save_checkpoint
from tests.unit.probe.calibration.test_calibrate import write_samples

SETTINGS = Settings(entropy_k=5, max_new_tokens=3, keep_ratios=(0.25, 0.5))
PLAN = Plan((Keep(layer=1, keep_ratio=0.5), Freeze(layers=[3])))
MILD = Plan((Keep(layer=2, keep_ratio=0.75),))
MEAN = MeanSample(layers=5, visual=16, text=8, inputs=0.25, prefill=1.0, reading=0.5, answer=2.0, sample=4.0)
WHOLE, NOTHING = Work(8, 2, 8, 8, examples=6, method=8), Work(0, 0, 0, 0, surface=False, causes=False, search=False)


FOUND = VisiPrunerFindings(
    hidden=1,
    setting=None,
    retention=1.0,
    flops_ratio=1.0,
    noise_floor=0.0,
    middle=StageBegin(layer=2, low=1, high=3, share=1.0),
    deep=StageBegin(layer=5, low=4, high=5, share=0.5),
)


def concrete_steps(kind: type[Step[Any]]) -> Iterator[type[Step[Any]]]:
    """All concrete subclasses; a base class has no name."""
    for subclass in kind.__subclasses__():
        yield from concrete_steps(subclass)
        if not subclass.__abstractmethods__ and hasattr(subclass, "name") and subclass.__module__.startswith("probe."):
            yield subclass


STEPS = sorted(set(concrete_steps(Step)), key=lambda step: step.name)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return list(load_samples(write_samples(tmp_path_factory.mktemp("data"), 3)))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ProbedModel:
    loaded = load_model(str(save_checkpoint("llava", tmp_path_factory.mktemp("model"))), device="cpu")
    return ProbedModel(loaded.model, loaded.processor)


@pytest.fixture(scope="module")
def steps(model: ProbedModel, samples: list[Sample]) -> dict[type[Step[Any]], Step[Any]]:
    """One instance of each step."""
    shape = DecoderShape.of(model.model.config.get_text_config(), 4)
    curves = Curves(5, 3, release_curve=True, kl_ids=frozenset({samples[0].id, samples[2].id}))
    answers = curves.combine({sample.id: curves.measure(model, sample) for sample in samples}).answers
    answering = HeldOutAnswers(3)
    unread = answering.combine({sample.id: answering.measure(model, sample) for sample in samples})
    steps: list[Step[Any]] = [
        curves,
        answering,
        SelfChecks(5),
        MarginalUtility(answers, SETTINGS, shape, (16, 8)),
        CausalCurves(answers, shape.layers, 0.05, 3),
        CausalCurvesAt(answers, shape.layers, 0.05, (1, 3)),
        SearchRound(answers, (MILD, PLAN), "1"),
        Plans(answers, (MILD, PLAN), "likelihood", 3),
        HeldOutCheck(unread, (MILD, PLAN), "graded", 3),
        Examples(answers, PLAN, (0, 3), 3),
        Withdrawal(),
        HeadImportance(answers, shape),
        TokenRemoval(),
        ShallowLayers(answers, shape),
        Thresholds(answers, shape, 0.9, settings_for(shape.layers)[::5], FOUND),
        ProbeSamples(("image_patching", "lens", "shares"), 3, frozenset({samples[0].id}), partners_of(samples)),
    ]
    return {type(step): step for step in steps}


def test_every_step_is_tested(steps: Mapping[type[Step[Any]], Step[Any]]) -> None:
    assert set(steps) == set(STEPS)


def test_names_and_keys_tell_steps_apart(steps: Mapping[type[Step[Any]], Step[Any]]) -> None:
    assert len({step.name for step in STEPS}) == len(STEPS)
    keys = {step.key for step in steps.values()}
    assert len(keys) == len(STEPS)
    assert not any("/" in key for key in keys)


def timeless(item: Item) -> Item:
    """The item without its measured times."""
    return {name: value for name, value in item.items() if name != "seconds"} if isinstance(item, dict) else item


@pytest.mark.parametrize("kind", STEPS, ids=lambda kind: kind.name)
def test_an_item_depends_only_on_step_model_and_sample(
    kind: type[Step[Any]], steps: Mapping[type[Step[Any]], Step[Any]], model: ProbedModel, samples: list[Sample]
) -> None:
    """A pickled copy measures the same, in another order and after work of another step."""
    step = steps[kind]
    items = [step.measure(model, sample) for sample in samples]
    copy = pickle.loads(pickle.dumps(step))  # noqa: S301 - our own, of a moment ago
    steps[HeldOutCheck].measure(model, samples[0])
    again = [copy.measure(model, sample) for sample in reversed(samples)]
    assert [timeless(item) for item in reversed(again)] == [timeless(item) for item in items]


@pytest.mark.parametrize("kind", STEPS, ids=lambda kind: kind.name)
def test_items_survive_json(
    kind: type[Step[Any]], steps: Mapping[type[Step[Any]], Step[Any]], model: ProbedModel, samples: list[Sample]
) -> None:
    step = steps[kind]
    items = {sample.id: step.measure(model, sample) for sample in samples}
    read = json.loads(json.dumps(items, allow_nan=False))
    np.testing.assert_equal(plain(step.combine(read)), plain(step.combine(items)))


def plain(result: Any) -> Any:
    """Convert a result to values that can be compared."""
    if hasattr(result, "__dataclass_fields__"):
        return {name: plain(getattr(result, name)) for name in result.__dataclass_fields__}
    if isinstance(result, tuple | list):
        return [plain(value) for value in result]
    return result


@pytest.mark.parametrize("kind", STEPS, ids=lambda kind: kind.name)
def test_budget_fields_exist(kind: type[Step[Any]], steps: Mapping[type[Step[Any]], Step[Any]]) -> None:
    step = steps[kind]
    assert 0.0 < step.cost(MEAN) < math.inf
    assert set(step.cost_fields) <= set(CostEstimates._fields)
    assert step.work_field in Work._fields
    if step.budgeted != "never":
        assert step.sample_count(WHOLE) == getattr(WHOLE, step.work_field)
        least = 1 if kind is Plans else 0  # a plan is always chosen among some that were judged
        assert step.reduced_to(NOTHING).sample_count(NOTHING) == least
        assert set(step.settled_work(WHOLE, 1)) <= set(Work._fields)


def test_every_cost_is_paid_by_one_step() -> None:
    """Time for a cost that no step pays would be reserved for ever. A method's step runs in place of the causal curves.

    The rounds of the search are one cost, which whoever runs them settles.
    """
    of_methods = [step for step in STEPS if issubclass(step, MethodStep)]
    spent = [field for step in STEPS if step not in of_methods for field in step.cost_fields]
    assert sorted([*spent, "method", "search"]) == sorted(CostEstimates._fields)
    assert {step.cost_fields for step in of_methods if step is not ShallowLayers} == {("method", "once")}
    assert ShallowLayers.cost_fields == ("once",)  # another step of the method follows


def test_reduced_causal_curves_have_one_layer_and_cost_less(steps: Mapping[type[Step[Any]], Step[Any]]) -> None:
    step = steps[CausalCurves]
    assert isinstance(step, CausalCurves)
    reduced = step.reduced_to(WHOLE._replace(causes=False))
    assert reduced == replace(step, everywhere=False)
    assert (step.starts, reduced.starts) == ((1, 2, 3, 4), (3,))
    assert 0.0 < reduced.cost(MEAN) < step.cost(MEAN)


def test_plans_are_judged_on_the_samples_that_did_not_propose_them(
    steps: Mapping[type[Step[Any]], Step[Any]],
) -> None:
    whole: Any = steps[Plans]
    step = replace(whole, proposing=3)
    assert step.sample_count(WHOLE) == WHOLE.plans - 3
    assert step.settled_work(WHOLE, WHOLE.plans - 3) == {"plans": WHOLE.plans}


@pytest.mark.parametrize("kind", [SearchRound, Plans, HeldOutCheck], ids=lambda kind: kind.name)
def test_results_of_other_plans_have_another_key(
    kind: type[Step[Any]], steps: Mapping[type[Step[Any]], Step[Any]]
) -> None:
    """What a journal has of a search that found other plans is not taken for theirs."""
    step: Any = steps[kind]
    others = [replace(step, tried=tried) for tried in ((PLAN, MILD), (MILD,), (MILD, PLAN))]
    assert [other.key == step.key for other in others] == [False, False, True]


def test_answers_survive_as_plain_values() -> None:
    answer = Answer((5, 2), -0.5)
    assert Answer.of(json.loads(json.dumps({"answer": answer.ids, "log_likelihood": answer.log_likelihood}))) == answer
