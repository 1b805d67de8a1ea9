"""A calibration that was stopped goes on where it was: the same profile, nothing done twice, nothing mixed."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import probe.calibration.steps.self_checks
from halfv_core import Profile
from halfv_core.errors import DataError, HalfVError
from halfv_core.models import LoadedModel, load_model
from probe import calibrate, load_samples
from probe.calibration.calibrate import Settings
from probe.data.samples import Sample
from tests.checkpoints import save_checkpoint
from tests.unit.probe.calibration.test_calibrate import write_samples

SETTINGS = Settings(
    samples=5, held_out=0.4, max_new_tokens=3, entropy_k=5, min_agreement=0.5, max_log_likelihood_drop=9
)
STEPS = {"curves": 3, "held-out answers": 2, "marginal utility": 3, "Stage III": 3, "plans": 3, "held-out": 2,
         "examples": 2}  # fmt: skip
"""In their order, with the samples of each."""


class Stopped(Exception):
    """In the middle of a run."""


def timeless(profile: Profile) -> str:
    """The profile as JSON, apart from times."""
    times = {"created": "", "seconds": 0.0, "seconds_by_step": {}}
    provenance = profile.provenance.model_copy(update=times)
    return profile.model_copy(update={"provenance": provenance}).model_dump_json(indent=1)


class Work:
    """A model and samples, and how often the model runs outside the self-checks."""

    def __init__(self, loaded: LoadedModel, samples: list[Sample]) -> None:
        self.loaded = loaded
        self.samples = samples
        self.calls = 0
        loaded.model.register_forward_pre_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.calls += 1

    def checks(self, *args: Any, **options: Any) -> Any:
        """Self-checks belong to a process, so each has its own; they are not counted."""
        before, found = self.calls, CHECKS(*args, **options)
        self.calls = before
        return found

    def run(self, journal: Path | None, settings: Settings = SETTINGS, **options: Any) -> Profile:
        return calibrate(
            self.loaded.model, self.loaded.processor, self.samples, settings, model_id="m", journal=journal, **options
        )


CHECKS = probe.calibration.steps.self_checks.self_checks


def llava(folder: Path) -> LoadedModel:
    return load_model(str(save_checkpoint("llava", folder / "checkpoint")), device="cpu")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    folder = tmp_path_factory.mktemp("work")
    found = Work(llava(folder), list(load_samples(write_samples(folder))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe.calibration.steps.self_checks, "self_checks", found.checks)
        yield found


@pytest.fixture(scope="module")
def peace(work: Work, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int, list[Any]]:
    """Of a run that nobody stopped: its profile, how often the model ran, and the names of its records."""
    work.calls = 0
    journal = tmp_path_factory.mktemp("peace") / "j"
    profile = work.run(journal)
    return timeless(profile), work.calls, names(journal)


def names(journal: Path) -> list[Any]:
    """Of the records, in order."""
    return [json.loads(line)["name"] for line in journal.read_bytes().splitlines()[1:]]


def stop_in(step: str, done: int) -> Callable[[str, int, int], None]:
    """Progress that ends the run when so many samples of a step are done."""

    def told(name: str, now: int, total: int) -> None:
        if (name, now) == (step, done):
            raise Stopped

    return told


def test_a_journal_does_not_change_the_profile(work: Work, peace: tuple[str, int, list[Any]]) -> None:
    assert timeless(work.run(None)) == peace[0]


def test_each_sample_is_noted_once_in_each_step(peace: tuple[str, int, list[Any]]) -> None:
    steps = Counter(name.rpartition("/")[0] for name in peace[2])
    assert steps == {"curves": 3, "answer": 2, "marginal utility": 3, "Stage III": 3, "plans": 3, "held-out 0": 2,
                     "examples": 2}  # fmt: skip
    assert len(set(peace[2])) == len(peace[2])


@pytest.mark.parametrize("step", STEPS)
def test_a_run_that_was_stopped_goes_on(
    step: str, work: Work, peace: tuple[str, int, list[Any]], tmp_path: Path
) -> None:
    """Stopped between two samples: both runs together do what one does alone, and come to the same profile."""
    work.calls = 0
    with pytest.raises(Stopped):
        work.run(tmp_path / "j", on_progress=stop_in(step, 1))
    before = names(tmp_path / "j")
    assert before == peace[2][: len(before)]
    assert len(before) == 1 + sum(list(STEPS.values())[: list(STEPS).index(step)])
    profile = work.run(tmp_path / "j")
    assert timeless(profile) == peace[0]
    assert names(tmp_path / "j") == peace[2]
    assert work.calls == peace[1]


def test_a_run_that_was_stopped_inside_a_sample_does_that_sample_again(
    work: Work, peace: tuple[str, int, list[Any]], tmp_path: Path
) -> None:
    """At any of the model's calls: wherever it is, the whole results before it are kept."""
    for call in (peace[1] // 5, peace[1] // 2):
        journal = tmp_path / str(call)

        def stop(*_: Any, last: int = call) -> None:
            if work.calls > last:
                raise Stopped

        work.calls = 0
        handle = work.loaded.model.register_forward_pre_hook(stop)
        with pytest.raises(Stopped):
            work.run(journal)
        handle.remove()
        before = names(journal)
        assert before == peace[2][: len(before)]
        assert timeless(work.run(journal)) == peace[0]
        assert names(journal) == peace[2]


def test_a_finished_run_is_read_without_the_model(
    work: Work, peace: tuple[str, int, list[Any]], tmp_path: Path
) -> None:
    """As after a kill between the last result and the profile."""
    work.run(tmp_path / "j")
    work.calls = 0
    assert timeless(work.run(tmp_path / "j")) == peace[0]
    assert work.calls == 0


def test_with_a_target_too(work: Work, tmp_path: Path) -> None:
    """Several plans are tried on the samples kept apart, one step each."""
    settings = Settings(**SETTINGS.model_dump() | {"target_retention": 1.0})
    whole = work.run(tmp_path / "whole", settings)
    with pytest.raises(Stopped):
        work.run(tmp_path / "j", settings, on_progress=stop_in("held-out", 1))
    assert timeless(work.run(tmp_path / "j", settings)) == timeless(whole)
    assert names(tmp_path / "j") == names(tmp_path / "whole")


def begun(work: Work, journal: Path) -> bytes:
    """A run that was stopped, and what it left."""
    with pytest.raises(Stopped):
        work.run(journal, on_progress=stop_in("curves", 2))
    return journal.read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"max_new_tokens": 4}, "another max_new_tokens; got 4; expected 3"),
        ({"seed": 1}, "another seed; got 1; expected 0"),
        ({"top_share": 0.1}, "another top_share; got 0.1; expected 0.05"),
        ({"keep_ratios": (0.5,)}, r"another keep_ratios; got \[0.5\]; expected \[0.1, 0.25, 0.5, 0.75\]"),
        ({"options": {"anchor_share": 0.3}}, "another options"),
        ({"target_flops": 2.0}, "another target_flops; got 2.0; expected null"),
    ],
)
def test_another_setting_is_refused_by_its_name(change: dict[str, Any], said: str, work: Work, tmp_path: Path) -> None:
    before = begun(work, tmp_path / "j")
    with pytest.raises(HalfVError, match=f"unfinished work with {said}"):
        work.run(tmp_path / "j", Settings(**SETTINGS.model_dump() | change))
    assert (tmp_path / "j").read_bytes() == before


def test_other_data_are_refused(work: Work, tmp_path: Path) -> None:
    before = begun(work, tmp_path / "j")
    changed = [sample.model_copy(update={"question": f"{sample.question} w9"}) for sample in work.samples]
    with pytest.raises(HalfVError, match="another data"):
        Work(work.loaded, changed).run(tmp_path / "j")
    assert (tmp_path / "j").read_bytes() == before


def _train(loaded: LoadedModel) -> None:
    list(loaded.model.parameters())[7].data += 1e-3


def _stop_earlier(loaded: LoadedModel) -> None:
    loaded.model.generation_config.eos_token_id = 3


def _narrow(loaded: LoadedModel) -> None:
    loaded.model.to(torch.bfloat16)


@pytest.mark.parametrize(("change", "said"), [(_train, "weights"), (_stop_earlier, "setup"), (_narrow, "dtype")])
def test_another_model_is_refused(change: Callable[[LoadedModel], None], said: str, work: Work, tmp_path: Path) -> None:
    before = begun(work, tmp_path / "j")
    other = llava(tmp_path)
    change(other)
    with pytest.raises(HalfVError, match=f"another {said}"):
        Work(other, work.samples).run(tmp_path / "j")
    assert (tmp_path / "j").read_bytes() == before


def test_samples_of_one_name_are_refused(work: Work) -> None:
    """Their results could not be told apart."""
    twice = [*work.samples[:3], work.samples[3].model_copy(update={"id": work.samples[0].id})]
    with pytest.raises(DataError, match=r"ids of samples must differ; got 's0' more than once"):
        Work(work.loaded, twice).run(None)
