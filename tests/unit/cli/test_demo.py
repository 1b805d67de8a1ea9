"""`demo` on a random checkpoint and few samples: what it writes and prints, and how it resumes."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.main import main
from data_samples.studies.results import RESULTS
from halfv_core import Profile
from probe import demo, load_samples
from probe.evaluation.comparison import Comparer
from tests.checkpoints import save_checkpoint
from tests.unit.probe.calibration.test_calibrate import write_samples

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `halfv-probe demo ...` with a checkpoint and samples that fit its vocabulary; return its exit code."""
    save_checkpoint("llava", tmp_path / "model")
    samples = load_samples(write_samples(tmp_path, 12))
    monkeypatch.setattr(demo, "load_samples", lambda name: samples)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)

    def demo_with(*arguments: str) -> int:
        options = ["--model", "./model", "--samples", "5", "--questions", "4", *arguments]
        monkeypatch.setattr(sys, "argv", ["halfv-probe", "demo", *options])
        with pytest.raises(SystemExit) as stopped:
            main()
        return int(stopped.value.code or 0)

    return demo_with


def test_it_writes_into_its_folder_and_says_so(run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    printed, folder = capfd.readouterr().out, tmp_path / "runs" / "demo"
    written = ["profile.json", "profile.observations.json", "report.html", "results.json", "scene.png"]
    assert sorted(path.name for path in folder.iterdir()) == written
    for words in ("saturation type", "4 held-out scenes", "retention", "prefill FLOPs"):
        assert words in printed
    profile, report, results, command = printed.splitlines()[-4:]
    assert (profile, report) == ("profile: runs/demo/profile.json", "report:  runs/demo/report.html")
    assert results == "results: runs/demo/results.json"
    assert command.startswith(
        "try:     halfv-probe generate --model ./model --profile runs/demo/profile.json --compare"
    )
    provenance = Profile.load(folder / "profile.json").provenance
    assert (provenance.data, provenance.arguments_given) == ("scenes", {"samples": 5})


def test_a_stopped_run_goes_on_where_it_was_and_prints_json(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    calibrate, compare = demo.calibrate_in_full, Comparer.compare
    folder, compared, noted = tmp_path / "runs" / "demo", [], []

    def stopped(self: Comparer, index: int, sample: Any) -> Any:
        if index == 2:
            raise KeyboardInterrupt
        return compare(self, index, sample)

    def followed(self: Comparer, index: int, sample: Any) -> Any:
        compared.append(index)
        return compare(self, index, sample)

    def watched(*arguments: Any, journal: Path, **options: Any) -> Any:
        noted.append(journal.read_bytes())
        found = calibrate(*arguments, journal=journal, **options)
        noted.append(journal.read_bytes())
        return found

    monkeypatch.setattr(Comparer, "compare", stopped)
    assert run() == 130
    assert (folder / "profile.json.unfinished").exists() and not (folder / "results.json").exists()
    monkeypatch.setattr(Comparer, "compare", followed)
    monkeypatch.setattr(demo, "calibrate_in_full", watched)
    capfd.readouterr()
    assert run("--json") == 0
    assert compared == [2, 3]
    assert noted[0] == noted[1], "nothing was measured anew"
    printed = json.loads(capfd.readouterr().out)
    assert printed == json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert list(printed) == list(json.loads(RESULTS.read_text(encoding="utf-8"))[0])
    assert printed["samples"] == 4
    assert not list(folder.glob("*.unfinished"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--questions", "0"], "at least one sample is needed; got 0"),
        (["--samples", "1"], "samples: Input should be greater than or equal to 2"),
        (["--output", "data.jsonl"], "cannot write data.jsonl: File exists; choose another --output"),
    ],
)
def test_a_mistake_is_one_line(run: Run, capfd: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert run(*arguments) == 2
    printed = capfd.readouterr()
    assert printed.out == "" and message in printed.err and printed.err.count("\n") == 1
