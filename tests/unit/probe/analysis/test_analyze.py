"""`analyze` on a random model: what is measured, resumed, left out and refused; and on a trained one what is found."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from halfv_core.errors import DataError, HalfVError, ProfileError
from halfv_core.models import LoadedModel, load_model
from probe import Analysis, analyze, load_samples
from probe.analysis.analyze import chosen_probes
from probe.analysis.step import ProbeSamples
from probe.analyzers.probe import PROBES
from probe.calibration.budget.budget import MIN_SAMPLES
from probe.data.samples import Sample
from tests.checkpoints import save_checkpoint
from tests.profiles import unsaturated
from tests.tiny import LAYERS
from tests.unit.probe.calibration.test_calibrate import write_samples
from tests.unit.probe.evaluation.test_ablation import tiny_profile

FEW = ("answer_tracking", "attention_maps", "contribution")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(str(save_checkpoint("llava", tmp_path_factory.mktemp("model"))), device="cpu")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return list(load_samples(write_samples(tmp_path_factory.mktemp("data"), MIN_SAMPLES + 2)))


def run(loaded: LoadedModel, samples: Sequence[Sample], **options: Any) -> Analysis:
    settings = {"probes": FEW, "count": 4, "examples": 2, "max_new_tokens": 2, "model_id": "m", "data": "noise"}
    return analyze(loaded.model, loaded.processor, samples, **settings | options)


def timeless(analysis: Analysis) -> bytes:
    """The file without times."""
    provenance = analysis.provenance.model_copy(update={"created": "", "seconds": 0.0, "seconds_by_step": {}})
    return analysis.model_copy(update={"provenance": provenance}).model_dump_json().encode()


@pytest.fixture(scope="module")
def analysis(loaded: LoadedModel, samples: list[Sample]) -> Analysis:
    return run(loaded, samples, profile=tiny_profile(loaded.model))


def test_probes_come_in_the_order_in_which_they_were_asked_for(analysis: Analysis) -> None:
    assert tuple(result.name for result in analysis.results) == FEW
    assert analysis.layers == LAYERS
    for result in analysis.results:
        assert (result.title, result.question) == (PROBES[result.name].title, PROBES[result.name].question)


def test_the_profiles_stages_are_kept(analysis: Analysis, loaded: LoadedModel) -> None:
    assert analysis.stages == tiny_profile(loaded.model).stages


def test_maps_are_of_the_examples(analysis: Analysis) -> None:
    shown = {example.id for example in analysis.examples}
    assert len(shown) == 2 and shown < set(analysis.sample_ids)
    maps = analysis.result("attention_maps").findings
    assert {finding.example for finding in maps} == shown
    for example in analysis.examples:
        assert len(example.regions) == 16 and example.pictures and example.question


def test_a_saved_analysis_is_the_same(analysis: Analysis, tmp_path: Path) -> None:
    analysis.save(tmp_path / "a.json")
    assert Analysis.load(tmp_path / "a.json") == analysis
    assert len(analysis.to_frame()) > 4 * LAYERS


def test_what_was_done_is_recorded(analysis: Analysis) -> None:
    assert len(analysis.sample_ids) == 4 and analysis.provenance.dropped == ()
    resolved = analysis.provenance.arguments_resolved
    assert resolved == {"probes": list(FEW), "samples": 4, "examples": 2, "max_new_tokens": 2}


class Stopped(BaseException):
    """Raised without warning, like a signal."""


def test_after_a_stop_the_same_call_ends_with_the_same_file(
    loaded: LoadedModel, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, measured, measure = tmp_path / "a.json.unfinished", [], ProbeSamples.measure

    def counted(self: ProbeSamples, model: Any, sample: Sample) -> Any:
        if len(measured) == 2:
            raise Stopped
        measured.append(sample.id)
        return measure(self, model, sample)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(ProbeSamples, "measure", counted)
        run(loaded, samples, journal=journal)
    with journal.open("ab") as stream:
        stream.write(b'{"name": "ana')  # a line that was not finished
    again: list[str] = []
    monkeypatch.setattr(
        ProbeSamples, "measure", lambda self, model, sample: again.append(sample.id) or measure(self, model, sample)
    )
    resumed = run(loaded, samples, journal=journal)
    assert len(again) == 2 and not set(again) & set(measured)
    assert timeless(resumed) == timeless(run(loaded, samples))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"probes": FEW[:2]}, "another probes"),
        ({"examples": 1}, "another examples"),
        ({"max_new_tokens": 3}, "another max_new_tokens"),
    ],
)
def test_a_journal_of_other_work_is_refused(
    changed: dict[str, Any], message: str, loaded: LoadedModel, samples: list[Sample], tmp_path: Path
) -> None:
    run(loaded, samples[:2], count=2, journal=tmp_path / "j")
    with pytest.raises(HalfVError, match=message):
        run(loaded, samples[:2], **{"count": 2, "journal": tmp_path / "j"} | changed)


def test_a_budget_that_is_spent_stops_at_ten_samples(loaded: LoadedModel, samples: list[Sample]) -> None:
    found = run(loaded, samples, probes=["shares"], count=MIN_SAMPLES + 2, examples=3, budget=1e-6)
    assert len(found.sample_ids) == MIN_SAMPLES
    assert found.provenance.dropped == ("the last 2 samples, to stay within the budget",)
    assert len(found.examples) == 3


def test_a_budget_that_is_large_enough_changes_nothing(loaded: LoadedModel, samples: list[Sample]) -> None:
    found = run(loaded, samples, probes=["shares"], count=MIN_SAMPLES + 2, budget=3600.0)
    assert len(found.sample_ids) == MIN_SAMPLES + 2
    assert found.provenance.dropped == ()


def test_samples_that_cannot_be_used_are_left_out_and_named(loaded: LoadedModel, samples: list[Sample]) -> None:
    spelled = samples[0].model_copy(update={"id": "bad", "question": f"w1 {loaded.processor.backend.image_token}"})
    found = run(loaded, [*samples[:3], spelled], count=4)
    assert set(found.sample_ids) == {"s0", "s1", "s2"}
    assert found.provenance.rejected == 1
    assert "bad: the question spells a token that stands for images" in found.provenance.rejected_first[0]
    assert all(len(table.values) == 3 for table in found.result("contribution").findings if table.kind == "samples")
    with pytest.raises(DataError, match="1 of 1 samples cannot be used; got bad: the question spells"):
        run(loaded, [spelled], count=1)


def test_images_of_other_samples_are_the_same_after_a_stop(
    loaded: LoadedModel, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every question is the same here, so that all other samples are partners, and all images have the same size."""
    asked = [sample.model_copy(update={"question": samples[0].question}) for sample in samples[:4]]
    options: dict[str, Any] = {"probes": ["image_patching"], "examples": 0}
    expected = run(loaded, asked, **options)
    measure = ProbeSamples.measure

    def stopped(self: ProbeSamples, model: Any, sample: Sample) -> Any:
        if sample.id == expected.sample_ids[2]:
            raise Stopped
        return measure(self, model, sample)

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(ProbeSamples, "measure", stopped)
        run(loaded, asked, journal=tmp_path / "j", **options)
    assert timeless(run(loaded, asked, journal=tmp_path / "j", **options)) == timeless(expected)
    pairs = expected.result("image_patching").finding("pairs")
    assert dict(zip(pairs.conditions, pairs.mean, strict=True))["no other image fits"] == 0.0
    alone = run(loaded, asked[:1], **options | {"count": 1}).result("image_patching").findings
    assert [(found.name, found.mean) for found in alone] == [("pairs", (0.0, 0.0, 1.0))]


def test_names_of_probes(loaded: LoadedModel, samples: list[Sample]) -> None:
    assert chosen_probes([]) == chosen_probes(["shares", "all"]) == tuple(sorted(PROBES))
    assert chosen_probes(["lens", "shares", "lens"]) == ("lens", "shares")
    with pytest.raises(HalfVError, match="unknown probe; got 'lenses'; expected one of .*answer_tracking"):
        run(loaded, samples, probes=["lenses"])


def test_a_profile_of_another_model_is_refused(loaded: LoadedModel, samples: list[Sample]) -> None:
    with pytest.raises(ProfileError, match="this profile was made for another model"):
        run(loaded, samples, profile=unsaturated())


def test_samples_with_one_id_are_refused(loaded: LoadedModel, samples: list[Sample]) -> None:
    with pytest.raises(DataError, match="ids of samples must differ"):
        run(loaded, [samples[0], samples[0]])
