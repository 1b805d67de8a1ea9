"""An interrupted calibration continues where it stopped: same profile, nothing measured twice, nothing mixed up."""

import json
import re
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
from halfv_core.selectors import SELECTORS
from probe import calibrate, load_samples
from probe.calibration.calibrate import Settings
from probe.data.samples import Sample
from tests.checkpoints import save_checkpoint
from tests.unit.probe.calibration.test_calibrate import write_samples

SETTINGS = Settings(
    samples=5,
    held_out=0.4,
    certify=1,
    kl_samples=2,
    max_new_tokens=3,
    entropy_k=5,
    target_flops=1.5,
    keep_ratios=(0.5,),
)
STEPS = {"curves": 3, "held-out answers": 3, "marginal utility": 3, "causal curves": 3, "search": 3, "plans": 2,
         "held-out": 3, "examples": 3}  # fmt: skip
"""The steps in order, with the number of samples of each."""
MEASURES = {"fitprune": "token removal", "hawk": "head importance"}
"""Method -> the step that measures what it needs."""


class Stopped(Exception):
    """Raised in the middle of a run."""


def timeless(profile: Profile) -> str:
    """The profile as JSON without times."""
    times = {"created": "", "seconds": 0.0, "seconds_by_step": {}}
    provenance = profile.provenance.model_copy(update=times)
    return profile.model_copy(update={"provenance": provenance}).model_dump_json(indent=1)


class CountedRuns:
    """Calibrates a model on samples, and counts the forward passes outside the self-checks."""

    def __init__(self, loaded: LoadedModel, samples: list[Sample]) -> None:
        self.loaded = loaded
        self.samples = samples
        self.calls = 0
        loaded.model.register_forward_pre_hook(self._count)

    def _count(self, *_: Any) -> None:
        self.calls += 1

    def checks(self, *args: Any, **options: Any) -> Any:
        """Run the self-checks without counting their forward passes; each process runs its own."""
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
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CountedRuns]:
    folder = tmp_path_factory.mktemp("work")
    found = CountedRuns(llava(folder), list(load_samples(write_samples(folder))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probe.calibration.steps.self_checks, "self_checks", found.checks)
        yield found


@pytest.fixture(scope="module")
def uninterrupted(runs: CountedRuns, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, int, list[Any]]:
    """An uninterrupted run: its profile, the number of forward passes, and the names of its journal records."""
    runs.calls = 0
    journal = tmp_path_factory.mktemp("peace") / "j"
    profile = runs.run(journal)
    return timeless(profile), runs.calls, names(journal)


def names(journal: Path) -> list[Any]:
    """Names of the journal records, in order."""
    return [json.loads(line)["name"] for line in journal.read_bytes().splitlines()[1:]]


def stop_in(step: str, done: int) -> Callable[[str, int, int], None]:
    """A progress callback that stops the run when `done` samples of the step are done."""

    def on_progress(name: str, now: int, total: int) -> None:
        if (name, now) == (step, done):
            raise Stopped

    return on_progress


def test_a_journal_does_not_change_the_profile(runs: CountedRuns, uninterrupted: tuple[str, int, list[Any]]) -> None:
    assert timeless(runs.run(None)) == uninterrupted[0]


def test_each_sample_is_recorded_once_per_step(uninterrupted: tuple[str, int, list[Any]]) -> None:
    steps = Counter(re.sub("( [0-9a-f]{8})?/.*", "", name) for name in uninterrupted[2])
    assert steps == {"curves": 3, "answer": 3, "marginal utility": 3, "causal curves": 3, "search 1": 1, "search 2": 1,
                     "search 3": 1, "plans": 2, "held-out": 3, "examples": 3}  # fmt: skip
    assert len(set(uninterrupted[2])) == len(uninterrupted[2])


@pytest.mark.parametrize("step", STEPS)
def test_an_interrupted_run_resumes(
    step: str, runs: CountedRuns, uninterrupted: tuple[str, int, list[Any]], tmp_path: Path
) -> None:
    """Stopped between two samples, the two runs together do what one does alone, and give the same profile."""
    runs.calls = 0
    with pytest.raises(Stopped):
        runs.run(tmp_path / "j", on_progress=stop_in(step, 1))
    before = names(tmp_path / "j")
    assert before == uninterrupted[2][: len(before)]
    assert len(before) == 1 + sum(list(STEPS.values())[: list(STEPS).index(step)])
    profile = runs.run(tmp_path / "j")
    assert timeless(profile) == uninterrupted[0]
    assert names(tmp_path / "j") == uninterrupted[2]
    assert runs.calls == uninterrupted[1]


def test_a_sample_interrupted_midway_is_measured_again(
    runs: CountedRuns, uninterrupted: tuple[str, int, list[Any]], tmp_path: Path
) -> None:
    """Stopped at any forward pass, all complete results before it are kept."""
    for call in (uninterrupted[1] // 5, uninterrupted[1] // 2):
        journal = tmp_path / str(call)

        def stop(*_: Any, last: int = call) -> None:
            if runs.calls > last:
                raise Stopped

        runs.calls = 0
        handle = runs.loaded.model.register_forward_pre_hook(stop)
        with pytest.raises(Stopped):
            runs.run(journal)
        handle.remove()
        before = names(journal)
        assert before == uninterrupted[2][: len(before)]
        assert timeless(runs.run(journal)) == uninterrupted[0]
        assert names(journal) == uninterrupted[2]


def test_a_finished_run_is_restored_without_the_model(
    runs: CountedRuns, uninterrupted: tuple[str, int, list[Any]], tmp_path: Path
) -> None:
    """As after a kill between the last result and the writing of the profile."""
    runs.run(tmp_path / "j")
    runs.calls = 0
    assert timeless(runs.run(tmp_path / "j")) == uninterrupted[0]
    assert runs.calls == 0


def test_a_run_with_another_target_resumes(runs: CountedRuns, tmp_path: Path) -> None:
    """The milder plans are checked on the held-out samples together with the chosen one."""
    settings = Settings(**SETTINGS.model_dump() | {"target_flops": None, "target_retention": 0.2})
    whole = runs.run(tmp_path / "whole", settings)
    assert len([test for test in whole.pruning_tests if test.held_out_retention is not None]) > 1
    with pytest.raises(Stopped):
        runs.run(tmp_path / "j", settings, on_progress=stop_in("held-out", 1))
    assert timeless(runs.run(tmp_path / "j", settings)) == timeless(whole)
    assert names(tmp_path / "j") == names(tmp_path / "whole")


def test_a_search_that_was_interrupted_in_a_later_round_resumes(runs: CountedRuns, tmp_path: Path) -> None:
    """Plans of later rounds follow from the results of earlier ones."""
    settings = Settings(**SETTINGS.model_dump() | {"samples": 8, "held_out": 0.0, "certify": 0, "examples": 0})
    runs.calls = 0
    whole = runs.run(tmp_path / "whole", settings)
    calls, rounds = runs.calls, [name for name in names(tmp_path / "whole") if name.startswith("search")]
    assert rounds[0].startswith("search 1 ") and rounds[-1].startswith("search 3 ")
    runs.calls, seen = 0, 0

    def stop(step: str, done: int, total: int) -> None:
        nonlocal seen
        seen += step == "search" and done > 0
        if seen == len(rounds) - 1:
            raise Stopped

    with pytest.raises(Stopped):
        runs.run(tmp_path / "j", settings, on_progress=stop)
    assert timeless(runs.run(tmp_path / "j", settings)) == timeless(whole)
    assert names(tmp_path / "j") == names(tmp_path / "whole")
    assert runs.calls == calls


def test_results_of_another_search_are_not_taken(
    runs: CountedRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A selector that is registered only in the second run takes part in it, and changes what was run before."""
    settings = Settings(**SETTINGS.model_dump() | {"target_flops": 2.0})
    with pytest.raises(Stopped):
        runs.run(tmp_path / "j", settings, on_progress=stop_in("plans", 1))
    before = {name.partition("/")[0] for name in names(tmp_path / "j") if name.startswith("search")}
    monkeypatch.setitem(SELECTORS._items, "mine", type("Mine", (SELECTORS["uniform"],), {}))
    resumed = runs.run(tmp_path / "j", settings)
    after = {name.partition("/")[0] for name in names(tmp_path / "j") if name.startswith("search")}
    assert before < after
    assert timeless(resumed) == timeless(runs.run(None, settings))


@pytest.mark.parametrize("method", ["fitprune", "hawk"])
def test_a_run_with_a_method_resumes(method: str, runs: CountedRuns, tmp_path: Path) -> None:
    settings = Settings(**SETTINGS.model_dump() | {"target_flops": None, "method": method})
    step = MEASURES[method]
    runs.calls = 0
    whole = runs.run(tmp_path / "whole", settings)
    calls, runs.calls = runs.calls, 0
    with pytest.raises(Stopped):
        runs.run(tmp_path / "j", settings, on_progress=stop_in(step, 1))
    assert timeless(runs.run(tmp_path / "j", settings)) == timeless(whole)
    assert runs.calls == calls
    assert [name for name in names(tmp_path / "whole") if name.startswith(step)] == [
        f"{step}/{name}" for name in whole.provenance.sample_ids
    ]


def interrupt(runs: CountedRuns, journal: Path) -> bytes:
    """Interrupt a run in its first step; return the bytes of its journal."""
    with pytest.raises(Stopped):
        runs.run(journal, on_progress=stop_in("curves", 2))
    return journal.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_new_tokens": 4}, "another max_new_tokens; got 4; expected 3"),
        ({"seed": 1}, "another seed; got 1; expected 0"),
        ({"top_share": 0.1}, "another top_share; got 0.1; expected 0.05"),
        ({"keep_ratios": (0.1, 0.25)}, r"another keep_ratios; got \[0.1, 0.25\]; expected \[0.5\]"),
        ({"options": {"anchor_share": 0.3}}, "another options"),
        ({"target_flops": 2.0}, "another target_flops; got 2.0; expected 1.5"),
        ({"certify": 2}, "another certify; got 2; expected 1"),
        ({"strict": True}, "another strict; got true; expected false"),
        ({"method": "vtw"}, 'another method; got "vtw"; expected null'),
    ],
)
def test_another_setting_is_refused_by_its_name(
    change: dict[str, Any], message: str, runs: CountedRuns, tmp_path: Path
) -> None:
    before = interrupt(runs, tmp_path / "j")
    with pytest.raises(HalfVError, match=f"unfinished work with {message}"):
        runs.run(tmp_path / "j", Settings(**SETTINGS.model_dump() | change))
    assert (tmp_path / "j").read_bytes() == before


def test_other_data_are_refused(runs: CountedRuns, tmp_path: Path) -> None:
    before = interrupt(runs, tmp_path / "j")
    changed = [sample.model_copy(update={"question": f"{sample.question} w9"}) for sample in runs.samples]
    with pytest.raises(HalfVError, match="another data"):
        CountedRuns(runs.loaded, changed).run(tmp_path / "j")
    assert (tmp_path / "j").read_bytes() == before


def _train(loaded: LoadedModel) -> None:
    list(loaded.model.parameters())[7].data += 1e-3


def _stop_earlier(loaded: LoadedModel) -> None:
    loaded.model.generation_config.eos_token_id = 3


def _narrow(loaded: LoadedModel) -> None:
    loaded.model.to(torch.bfloat16)


@pytest.mark.parametrize(("change", "message"), [(_train, "weights"), (_stop_earlier, "setup"), (_narrow, "dtype")])
def test_another_model_is_refused(
    change: Callable[[LoadedModel], None], message: str, runs: CountedRuns, tmp_path: Path
) -> None:
    before = interrupt(runs, tmp_path / "j")
    other = llava(tmp_path)
    change(other)
    with pytest.raises(HalfVError, match=f"another {message}"):
        CountedRuns(other, runs.samples).run(tmp_path / "j")
    assert (tmp_path / "j").read_bytes() == before


def test_samples_with_the_same_id_are_refused(runs: CountedRuns) -> None:
    """Their results could not be told apart in the journal."""
    twice = [*runs.samples[:3], runs.samples[3].model_copy(update={"id": runs.samples[0].id})]
    with pytest.raises(DataError, match=r"ids of samples must differ; got 's0' more than once"):
        CountedRuns(runs.loaded, twice).run(None)
