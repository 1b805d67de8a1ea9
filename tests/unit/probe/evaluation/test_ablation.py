"""An ablation of a random model against the same runs one by one; an interrupted one ends like an uninterrupted one."""

from pathlib import Path
from typing import Any

import pytest
import torch

from halfv_core import Freeze, Keep, Plan, Profile, apply
from halfv_core.errors import DataError, HalfVError, ProfileError
from halfv_core.models import LoadedModel, load_model
from halfv_core.profile import config_fingerprint
from probe import load_samples
from probe.common.journal import Journal
from probe.data.samples import Sample
from probe.evaluation.ablation import Ablation, ablate
from probe.evaluation.comparison import Comparer
from probe.evaluation.evaluate import evaluate
from probe.evaluation.flops import outside_flops
from probe.evaluation.variants import VARIANTS, variants_of
from probe.trials.answers import greedy_answer, read_answer
from tests.checkpoints import save_checkpoint
from tests.profiles import build
from tests.tiny import LAYERS
from tests.unit.probe.calibration.test_calibrate import write_samples


def tiny_profile(model: torch.nn.Module) -> Profile:
    """A profile as if calibrated for this random model on samples s0 and s1."""
    plan = Plan((Keep(layer=1, keep_ratio=0.3, selector="uniform"), Freeze(layers=range(3, LAYERS))))
    config: Any = model.config
    found = build(
        LAYERS,
        1,
        3,
        plan,
        "layer_inactivity",
        model_type=config.model_type,
        data="noise",
        sample_ids=("s0", "s1", "other"),
    )
    provenance = found.provenance.model_copy(update={"config_fingerprint": config_fingerprint(config)})
    return found.model_copy(update={"provenance": provenance})


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(str(save_checkpoint("llava", tmp_path_factory.mktemp("model"))), device="cpu")


@pytest.fixture(scope="module")
def profile(loaded: LoadedModel) -> Profile:
    return tiny_profile(loaded.model)


@pytest.fixture(scope="module")
def samples(loaded: LoadedModel, tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    """Samples, most of which have the full model's own answer as their reference."""
    found = load_samples(write_samples(tmp_path_factory.mktemp("data"), 6))
    answers = evaluate(loaded.model, loaded.processor, found, Plan(()), max_new_tokens=3).answers
    return [
        sample.model_copy(update={"answers": (answer if index % 4 else "w3",)})
        for index, (sample, answer) in enumerate(zip(found, answers, strict=True))
    ]


def run(loaded: LoadedModel, samples: list[Sample], profile: Profile, **options: Any) -> Ablation:
    return ablate(loaded.model, loaded.processor, samples, profile, max_new_tokens=3, **options)


@pytest.fixture(scope="module")
def ablation(loaded: LoadedModel, samples: list[Sample], profile: Profile) -> Ablation:
    return run(loaded, samples, profile, data="noise")


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_is_what_its_plan_does_alone(
    name: str, ablation: Ablation, loaded: LoadedModel, samples: list[Sample], profile: Profile
) -> None:
    plan, found = variants_of(profile).plans[name], ablation.variants[name]
    alone = evaluate(loaded.model, loaded.processor, samples, plan, max_new_tokens=3)
    assert found.plan == plan
    assert tuple(one.outcomes[name].answer for one in ablation.comparisons) == alone.answers
    assert found.by_family == alone.accuracy
    assert found.accuracy == pytest.approx(alone.mean)
    assert (found.flops_ratio, found.kv_ratio) == pytest.approx((alone.flops_ratio, alone.kv_ratio))
    full = [one.outcomes["full"].answer for one in ablation.comparisons]
    assert found.agreement == pytest.approx(sum(map(str.__eq__, full, alone.answers)) / len(full))
    likelihoods, outside, costs = [], 0, []
    for sample in samples:
        inputs = loaded.processor.prompt(sample.open_images(), sample.prompt)
        reference = torch.tensor(loaded.processor.tokenizer(sample.answers[0], add_special_tokens=False).input_ids)
        with apply(loaded.model, plan) as active:
            likelihoods.append(read_answer(loaded.model, inputs, reference).log_likelihood)
            greedy_answer(loaded.model, inputs, 3)
        costs.append(active.cost)
        outside += outside_flops(loaded.model, inputs)
    assert found.log_likelihood == pytest.approx(sum(likelihoods) / len(likelihoods))
    whole = [sum(getattr(cost, field) for cost in costs) for field in ("prefill_flops_full", "prefill_flops")]
    assert found.model_flops_ratio == pytest.approx((whole[0] + outside) / (whole[1] + outside))
    visual = [sum(getattr(cost, field) for cost in costs) for field in ("visual_flops_full", "visual_flops")]
    assert found.visual_flops_ratio == pytest.approx(visual[0] / visual[1])


def test_the_full_model_is_the_measure(ablation: Ablation) -> None:
    full = ablation.variants["full"]
    assert (full.retention, full.retention_interval, full.agreement) == (1.0, (1.0, 1.0), 1.0)
    assert (full.log_likelihood_change, full.log_likelihood_interval) == (0.0, (0.0, 0.0))
    assert (full.visual_flops_ratio, full.flops_ratio, full.model_flops_ratio) == (1.0, 1.0, 1.0)
    assert (full.kv_ratio, full.first_token_ratio) == (1.0, 1.0)


def test_parts_save_what_they_should(ablation: Ablation) -> None:
    found = ablation.variants
    assert found["ivr+ssr"].flops_ratio > max(found["ivr"].flops_ratio, found["ssr"].flops_ratio) > 1.0
    assert found["ssr"].kv_ratio == 1.0 < found["ivr"].kv_ratio == found["ivr+ssr"].kv_ratio
    assert found["wrong_ssr"].kv_ratio > found["ivr"].kv_ratio
    for one in (found["ivr"], found["ivr+ssr"]):
        assert one.visual_flops_ratio > one.flops_ratio > one.model_flops_ratio > 1.0
        low, high = one.log_likelihood_interval or (0.0, 0.0)
        assert low < one.log_likelihood_change < high


def test_a_record_comes_back_as_it_was(ablation: Ablation, tmp_path: Path) -> None:
    ablation.save(tmp_path / "e.json")
    assert Ablation.model_validate_json((tmp_path / "e.json").read_text()) == ablation


def test_no_variant_always_goes_first(
    loaded: LoadedModel, samples: list[Sample], profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Plan] = []
    outcome = Comparer._outcome

    def watched(self: Comparer, sample: Sample, inputs: Any, plan: Plan) -> Any:
        ran.append(plan)
        return outcome(self, sample, inputs, plan)

    monkeypatch.setattr(Comparer, "_outcome", watched)
    run(loaded, samples[:5], profile)
    plans = list(variants_of(profile).plans.values())
    warm_up, rounds = ran[:5], [ran[at : at + 5] for at in range(5, 30, 5)]
    assert warm_up == plans
    assert [turn[0] for turn in rounds] == plans
    assert all(turn[1:] + turn[:1] == after for turn, after in zip(rounds, rounds[1:], strict=False))


def test_samples_of_the_calibration_are_counted(
    ablation: Ablation, loaded: LoadedModel, samples: list[Sample], profile: Profile
) -> None:
    assert ablation.calibrated_on == 2
    only_full = variants_of(profile).only(("full",))
    assert run(loaded, samples[:1], profile, variants=only_full, data="other").calibrated_on == 0


def timeless(ablation: Ablation) -> dict[str, Any]:
    """The result without measured times."""
    found = ablation.model_dump(exclude={"created", "seconds", "resumed"})
    for variant in found["variants"].values():
        del variant["first_token_ratio"]
    for comparison in found["comparisons"]:
        for outcome in comparison["outcomes"].values():
            del outcome["first_token_seconds"]
    return found


def test_finished_samples_are_not_run_again(
    ablation: Ablation,
    loaded: LoadedModel,
    samples: list[Sample],
    profile: Profile,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    journal, ran = tmp_path / "journal", []
    compare = Comparer.compare

    def watched(self: Comparer, index: int, sample: Sample) -> Any:
        ran.append(sample.id)
        if len(ran) == 3:
            raise KeyboardInterrupt
        return compare(self, index, sample)

    monkeypatch.setattr(Comparer, "compare", watched)
    with pytest.raises(KeyboardInterrupt):
        run(loaded, samples, profile, data="noise", journal=journal)
    told: list[int] = []
    again = run(
        loaded, samples, profile, data="noise", journal=journal, on_progress=lambda step, done, total: told.append(done)
    )
    assert ran == [f"s{index}" for index in (0, 1, 2, 2, 3, 4, 5)]
    assert told == list(range(7))
    assert timeless(again) == timeless(ablation)
    assert (ablation.resumed, again.resumed) == (0, 2)
    whole = run(loaded, samples, profile, data="noise", journal=journal)  # everything is stored, so nothing runs
    assert len(ran) == 7 and whole.variants == again.variants


@pytest.mark.parametrize(
    ("options", "field"), [({"grading": "soft"}, "grading"), ({"model_id": "else"}, "model"), ({"part": 3}, "data")]
)
def test_a_journal_of_other_work_is_refused(
    loaded: LoadedModel,
    samples: list[Sample],
    profile: Profile,
    tmp_path: Path,
    options: dict[str, Any],
    field: str,
) -> None:
    only_full = variants_of(profile).only(("full",))
    run(loaded, samples[:2], profile, variants=only_full, journal=tmp_path / "j")
    part = samples[: options.pop("part", 2)]
    with pytest.raises(HalfVError, match=f"unfinished work with another {field}; got"):
        run(loaded, part, profile, variants=only_full, journal=tmp_path / "j", **options)


def test_what_cannot_be_judged_is_refused_before_anything_runs(
    loaded: LoadedModel, samples: list[Sample], profile: Profile, tmp_path: Path
) -> None:
    blank = [sample.model_copy(update={"answers": ()}) for sample in samples]
    journal = tmp_path / "j"
    for given, options, message in (
        (blank, {}, "got sample 's0' without one"),
        ([], {}, "got no samples"),
        (samples, {"grading": "letter"}, "grading by letter needs choices"),
    ):
        with pytest.raises(DataError, match=message):
            run(loaded, given, profile, journal=journal, **options)
    other = profile.provenance.model_copy(update={"config_fingerprint": "00" * 32})
    with pytest.raises(ProfileError, match="made for another model"):
        run(loaded, samples, profile.model_copy(update={"provenance": other}), journal=journal)
    assert not journal.exists()


def test_the_journal_is_one_record_a_sample(
    loaded: LoadedModel, samples: list[Sample], profile: Profile, tmp_path: Path
) -> None:
    found = run(loaded, samples[:2], profile, journal=tmp_path / "j")
    lines = (tmp_path / "j").read_bytes().splitlines()
    assert len(lines) == 3
    with pytest.raises(HalfVError):
        Journal.open(tmp_path / "j", {})
    assert [one.id for one in found.comparisons] == ["s0", "s1"]
