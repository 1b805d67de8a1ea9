"""Calibrations from a checkpoint and JSONL to a profile, on random models."""

import json
import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from halfv_core import Keep, Plan, Profile, apply
from halfv_core.cost import DecoderShape, cost_of, tokens_by_layer
from halfv_core.errors import DataError, PlanError, UnsupportedError
from halfv_core.models import LoadedModel, load_model
from halfv_core.processors import PromptProcessor
from halfv_core.selectors import SELECTORS, ThresholdSelector, make_selector
from halfv_core.selectors.base import SelectionContext, Selector
from probe import calibrate, calibrate_in_full, load_samples
from probe.analyzers.causal_curves import CausalLosses
from probe.calibration.calibrate import Settings
from probe.calibration.causes import CausalEvidence
from probe.calibration.observations import Observations
from probe.calibration.steps.plans import Plans
from probe.data.samples import Sample
from probe.evaluation.evaluate import evaluate
from tests.checkpoints import READABLE, save_checkpoint
from tests.pictures import noise
from tests.tiny import LAYERS

FAMILY = pytest.mark.parametrize("family", READABLE)


def write_samples(folder: Path, count: int = 10) -> Path:
    """Write noise images with questions of two families."""
    rows = []
    for index in range(count):
        noise(64, 64, 10 + 20 * index, index).save(folder / f"{index}.png")
        row = {"id": f"s{index}", "image": f"{index}.png", "question": f"w{20 + index} w9", "answer": "w3"}
        rows.append(row | {"family": "ab"[index % 2]})
    path = folder / "data.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    return load_samples(write_samples(tmp_path))


def load(family: str, folder: Path) -> LoadedModel:
    return load_model(str(save_checkpoint(family, folder / "checkpoint")))


@FAMILY
def test_calibration_end_to_end(family: str, tmp_path: Path, samples: list[Sample]) -> None:
    loaded = load(family, tmp_path)
    progress: list[tuple[str, int, int]] = []
    settings = Settings(samples=5, held_out=0.4, certify=3, max_new_tokens=3, entropy_k=5)
    profile, observations = calibrate_in_full(
        loaded.model,
        loaded.processor,
        samples,
        settings,
        model_id="mine",
        data="noise",
        arguments={"samples": 5},
        on_progress=lambda *step: progress.append(step),
    )
    assert profile.layers == LAYERS
    check_observations(profile, observations)
    assert len(profile.provenance.sample_ids) == 3
    assert len(profile.provenance.held_out_ids) == profile.expected.held_out == 2 + 3
    assert not set(profile.provenance.sample_ids) & set(profile.provenance.held_out_ids)
    assert profile.curves.kl.mean[-1] == profile.curves.kl.std[-1] == 0.0
    assert all(sum(row) == pytest.approx(1.0) for row in profile.curves.spectrum)
    visual = round(profile.expected.visual_tokens)
    assert visual == {"llava_next": 10, "llava_onevision": 10}.get(family, 16)
    check_plan(profile)
    assert [check.name for check in profile.checks if not check.passed] == []
    assert len(profile.checks) == 6
    assert profile.utility is not None
    assert (profile.utility.layers, profile.utility.samples) == ((1,), 3)
    assert profile.provenance.arguments_resolved["entropy_k"] == 5
    assert "size" in profile.provenance.image_processor
    assert profile.uncertainty is not None
    assert [size.samples for size in profile.uncertainty.sample_sizes] == [1, 3]
    assert all(test.safe_share is not None for test in profile.pruning_tests)
    assert profile.saturation.confidence is not None
    steps = {"curves", "held-out answers", "marginal utility", "causal curves", "search", "plans", "examples"}
    if "held-out" in profile.provenance.seconds_by_step:  # not for the plan that does nothing
        steps.add("held-out")
    assert steps == {step for step, _, _ in progress}
    assert set(profile.provenance.seconds_by_step) == steps | {"self-checks", "uncertainty"}
    assert all(0 <= done <= total for _, done, total in progress)
    profile.save(tmp_path / "p.json")
    with apply(loaded.model, Profile.load(tmp_path / "p.json")) as run:
        loaded.model(**loaded.processor.prompt(samples[0].open_images(), "w8 w9"))
    shape = DecoderShape.of(loaded.model.config.get_text_config(), 4)
    text = round(profile.expected.text_tokens)
    assert run.cost == cost_of(shape, tokens_by_layer(profile.plan, LAYERS, visual, text))
    assert run.cost.flops_ratio == pytest.approx(profile.expected.flops_ratio)


@pytest.mark.parametrize("budget", [None, 600.0, 1e-6])
def test_layers_between_are_tried_where_an_onset_may_lie_there(
    budget: float | None, tmp_path: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A decoder with more layers than are tried first; what the further ones give is what trying all at once gives."""
    loaded = load("llava", tmp_path)
    settings = Settings(samples=4, held_out=0.25, certify=0, examples=0, max_new_tokens=3, entropy_k=5, budget=budget)
    monkeypatch.setattr(CausalEvidence, "is_conclusive", property(lambda self: len(self.losses.layers) > 1))
    everywhere = calibrate(loaded.model, loaded.processor, samples, settings.model_copy(update={"budget": None}))
    monkeypatch.setattr("probe.analyzers.causal_curves.MAX_LAYERS", 2)
    monkeypatch.setattr(CausalLosses, "between", lambda self: tuple({2, 3} - set(self.layers)))
    found = calibrate(loaded.model, loaded.processor, samples, settings)
    assert everywhere.causes is not None and found.causes is not None
    assert everywhere.causes.layers == (1, 2, 3, 4)
    if budget == 1e-6:
        assert len(found.causes.layers) == 1  # where Stage III seems to begin, and no time for others
        return
    assert found.causes == everywhere.causes
    assert "causal curves at given layers" in found.provenance.seconds_by_step


@pytest.mark.parametrize("target", [None, 1.5])
def test_milder_plans_are_judged_where_no_other_keeps_enough(
    target: float | None, tmp_path: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here each plan that saves much changes the answers, which does not matter if its cost was asked for."""
    loaded = load("llava", tmp_path)
    settings = Settings(
        samples=6, held_out=0.2, certify=0, examples=0, max_new_tokens=3, entropy_k=5, target_flops=target
    )
    shape, judge = DecoderShape.of(loaded.model.config.get_text_config(), 4), Plans.measure

    def strictly(step: Plans, *given: Any) -> Any:
        costs = [cost_of(shape, tokens_by_layer(plan, LAYERS, 16, 3)).flops_ratio for plan in step.tried]
        falls = [9.0 if ratio > 1.4 else 0.0 for ratio in costs]
        return judge(step, *given) | {"plans": [[fall == 0.0, fall, None] for fall in falls]}

    monkeypatch.setattr(Plans, "measure", strictly)
    profile = calibrate(loaded.model, loaded.processor, samples, settings)
    mild = [test for test in profile.pruning_tests if 1.0 < test.flops_ratio < 1.4]
    if target is None:
        assert 1.0 < profile.expected.flops_ratio < 1.4
        assert len({test.samples for test in profile.pruning_tests}) == 1
    else:
        assert not mild and profile.expected.flops_ratio > 1.4


def check_plan(profile: Profile) -> None:
    """The plan is the cheapest that is estimated to keep enough, unless the held-out samples refute it."""
    tests, certificate, search, causes = profile.pruning_tests, profile.certificate, profile.search, profile.causes
    assert certificate is not None and search is not None and causes is not None
    assert [test.flops_ratio for test in tests] == sorted((test.flops_ratio for test in tests), reverse=True)
    assert all(test.safe == (test.retention is not None and test.retention >= 0.97) for test in tests)
    assert tests[-1].plan == Plan(()) and tests[-1].safe
    cheapest = next(test for test in tests if test.safe and test.method is None)
    found = next(test for test in tests if test.plan == profile.plan)
    if cheapest.plan.interventions:
        assert cheapest.held_out_retention is not None
        assert (found == cheapest) or found.flops_ratio < cheapest.flops_ratio
    assert (certificate.target, certificate.confidence, certificate.samples) == (0.97, 0.9, 5)
    assert certificate.retention == (1.0 if found.plan == Plan(()) else found.held_out_retention)
    assert (certificate.proven_plan is None) == (certificate.proven_flops_ratio is None)
    assert search.considered >= search.plans > 0
    assert search.exhaustive == 3 * search.considered > search.plan_samples
    assert (causes.layers, causes.samples, causes.verdict) == ((1, 2, 3, 4), 3, "too_few_samples")
    assert causes.by_curves == profile.stages.saturation_start
    assert causes.sentence in profile.cautions


def check_observations(profile: Profile, found: Observations) -> None:
    where = profile.provenance
    assert (found.created, found.config_fingerprint) == (where.created, where.config_fingerprint)
    assert tuple(sample.id for sample in found.samples) == where.sample_ids
    for name in ("visual", "text", "joint", "kl"):
        mean = np.mean([getattr(sample, name) for sample in found.samples], axis=0)
        assert mean == pytest.approx(getattr(profile.curves, name).mean, rel=1e-3)
    assert {example.id for example in found.examples} == set(where.held_out_ids)
    for example in found.examples:
        assert example.regions
        assert [selection.layer for selection in example.selections] == [keep.layer for keep in profile.plan.keeps]
        assert len(example.attentions) == 1 + (profile.stages.saturation_start is not None)


def test_kl_on_fewer_samples_changes_no_other_curve(tmp_path: Path, samples: list[Sample]) -> None:
    loaded = load("llava", tmp_path)
    settings = Settings(samples=6, held_out=0.2, max_new_tokens=2, entropy_k=5)
    (whole, every), (few, some) = (
        calibrate_in_full(loaded.model, loaded.processor, samples, settings.model_copy(update={"kl_samples": count}))
        for count in (99, 2)
    )
    same = {"visual", "text", "joint", "spectrum", "visual_sinks", "text_sinks", "entropy_k"}
    assert few.curves.model_dump(include=same) == whole.curves.model_dump(include=same)
    assert (whole.curves.kl_samples, few.curves.kl_samples) == (None, 2)
    assert [bool(sample.kl) for sample in some.samples] == [True, True, False, False, False]
    assert [sample.kl for sample in some.samples[:2]] == [sample.kl for sample in every.samples[:2]]
    rows = np.array([sample.kl for sample in some.samples[:2]])
    assert few.curves.kl.mean == pytest.approx(rows.mean(0).tolist(), rel=1e-3)
    assert few.curves.kl_typical == pytest.approx(np.sqrt(rows.prod(0)).tolist(), rel=1e-3)
    assert few.provenance.arguments_resolved["kl_samples"] == 2
    few.save(tmp_path / "few.json")
    assert Profile.load(tmp_path / "few.json") == few


@pytest.mark.parametrize("family", ["gemma3", "qwen2_5_vl"])
def test_same_seed_same_profile(family: str, tmp_path: Path, samples: list[Sample]) -> None:
    loaded = load(family, tmp_path)
    settings = Settings(samples=4, max_new_tokens=2)
    (one, observations), (two, observations_again) = (
        calibrate_in_full(loaded.model, loaded.processor, samples, settings) for _ in range(2)
    )
    assert observations.model_copy(update={"created": ""}) == observations_again.model_copy(update={"created": ""})
    timeless = {"created": "", "seconds": 0.0, "seconds_by_step": {}}
    strip = [profile.provenance.model_copy(update=timeless) for profile in (one, two)]
    assert one.model_copy(update={"provenance": strip[0]}) == two.model_copy(update={"provenance": strip[1]})


def test_memory_stays_flat_in_the_number_of_samples(
    tmp_path: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many prompts there are, the pixels of at most two are in memory."""
    loaded = load("llava", tmp_path)
    made: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []
    conversation = PromptProcessor.conversation

    def watched(self: PromptProcessor, *arguments: Any) -> dict[str, torch.Tensor]:
        inputs = conversation(self, *arguments)
        made.append(weakref.ref(inputs["pixel_values"]))
        alive.append(sum(tensor() is not None for tensor in made))
        return inputs

    monkeypatch.setattr(PromptProcessor, "conversation", watched)
    calibrate(loaded.model, loaded.processor, samples, Settings(samples=10, max_new_tokens=2))
    assert len(made) > 20
    assert max(alive) <= 2


def test_without_held_out_samples_nothing_is_claimed(tmp_path: Path, samples: list[Sample]) -> None:
    loaded = load("llava", tmp_path)
    settings = Settings(samples=3, held_out=0.0, certify=0, max_new_tokens=2)
    profile = calibrate(loaded.model, loaded.processor, samples, settings)
    assert (profile.expected.agreement, profile.expected.held_out) == (None, 0)
    certificate = profile.certificate
    assert certificate is not None
    assert (certificate.samples, certificate.retention, certificate.proven) == (0, None, None)
    assert certificate.proven_plan is None
    assert certificate.sentence == "No sample was held out, so nothing is proven about the plan."


@pytest.mark.parametrize(
    ("reference", "score"),
    [("its own", "graded"), ("another", "likelihood"), ("one without", "likelihood")],
)
def test_answers_are_graded_where_all_samples_have_references_and_the_model_meets_some(
    reference: str, score: str, tmp_path: Path, samples: list[Sample]
) -> None:
    loaded = load("llava", tmp_path)
    settings = Settings(samples=5, held_out=0.4, certify=2, max_new_tokens=2, entropy_k=5, examples=0)
    own = evaluate(loaded.model, loaded.processor, samples, Plan(()), max_new_tokens=2).answers
    given = [("never",) if reference == "another" else (answer,) for answer in own]
    if reference == "one without":
        last = calibrate(loaded.model, loaded.processor, samples, settings).provenance.held_out_ids[-1]
        given[[sample.id for sample in samples].index(last)] = ()
    asked = [sample.model_copy(update={"answers": answers}) for sample, answers in zip(samples, given, strict=True)]
    profile = calibrate(loaded.model, loaded.processor, asked, settings)
    assert profile.certificate is not None and profile.certificate.score == score


def test_a_selector_that_cannot_run_on_the_model_takes_no_part(
    tmp_path: Path, samples: list[Sample], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those that look at single heads cannot, where tensor parallelism has split them."""
    tried = []

    @dataclass(frozen=True)
    class Unable(Selector):
        def select(self, context: SelectionContext, counts: Sequence[int]) -> torch.Tensor:
            tried.append(counts)
            raise UnsupportedError("this selector cannot run here")

    monkeypatch.setitem(SELECTORS._items, "unable", Unable)
    loaded = load("llava", tmp_path)
    settings = Settings(samples=5, held_out=0.2, certify=0, max_new_tokens=2, entropy_k=5, examples=0, target_flops=2.0)
    profile = calibrate(loaded.model, loaded.processor, samples, settings)
    assert tried
    assert not [keep for test in profile.pruning_tests for keep in test.plan.keeps if keep.selector == "unable"]
    with pytest.raises(UnsupportedError, match="this selector cannot run here"):
        calibrate(
            loaded.model, loaded.processor, samples, settings.model_copy(update={"selector": "unable", "options": {}})
        )


def test_too_few_samples(tmp_path: Path, samples: list[Sample]) -> None:
    loaded = load("llava", tmp_path)
    with pytest.raises(DataError, match="too few samples to calibrate on; got 1; expected 2 or more"):
        calibrate(loaded.model, loaded.processor, samples[:1])


@pytest.mark.parametrize(
    ("given", "field"),
    [({"samples": 0}, "samples: "), ({"top_share": 2.0}, "top_share: "), ({"colour": 1}, "colour: ")],
)
def test_settings_out_of_range_are_one_clear_line(given: dict[str, object], field: str) -> None:
    with pytest.raises(DataError, match=f"bad setting: {field}"):
        Settings.from_user(**given)


@pytest.mark.parametrize("selector", sorted(set(SELECTORS) - {"cdpruner"}))
def test_options_of_any_selector_are_written_out(selector: str) -> None:
    if issubclass(SELECTORS[selector], ThresholdSelector):
        with pytest.raises(PlanError, match=f"'{selector}' decides how many tokens it keeps"):
            Settings(selector=selector)
        return
    settings = Settings(selector=selector)
    assert settings.options == asdict(make_selector(selector, {}))
    assert Settings.model_validate(settings.model_dump()) == settings


def test_a_selector_that_needs_options_says_so() -> None:
    with pytest.raises(PlanError, match="relevance='none'"):
        Settings(selector="cdpruner")


def test_none_stands_for_the_default() -> None:
    assert Settings.from_user(seed=None, samples=7) == Settings(samples=7)


@FAMILY
def test_evaluation_counts_right_answers_by_family(family: str, tmp_path: Path, samples: list[Sample]) -> None:
    loaded = load(family, tmp_path)
    full = evaluate(loaded.model, loaded.processor, samples, Plan(()), max_new_tokens=3)
    truth = [
        sample.model_copy(update={"answers": (answer if index % 4 else "wrong",)})
        for index, (sample, answer) in enumerate(zip(samples, full.answers, strict=True))
    ]
    again = evaluate(loaded.model, loaded.processor, truth, Plan(()), max_new_tokens=3)
    assert again.accuracy == {"a": 0.4, "b": 1.0}
    assert again.mean == pytest.approx(0.7)
    assert again.flops_ratio == again.kv_ratio == 1.0
    pruned = evaluate(loaded.model, loaded.processor, truth, Plan((Keep(layer=1, keep_ratio=0.0),)), max_new_tokens=3)
    assert pruned.flops_ratio > 1.0 < pruned.kv_ratio


def test_evaluation_needs_answers(tmp_path: Path, samples: list[Sample]) -> None:
    loaded = load("llava", tmp_path)
    with pytest.raises(DataError, match="got sample 's0' without one"):
        blank = [sample.model_copy(update={"answers": ()}) for sample in samples]
        evaluate(loaded.model, loaded.processor, blank, Plan(()))
