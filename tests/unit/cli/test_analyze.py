"""`analyze` as a user runs it: files, the table, JSON, one-line errors, and after kill -9."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.main import main
from halfv_core.models import load_model
from probe import Analysis
from tests.checkpoints import save_checkpoint
from tests.profiles import unsaturated
from tests.unit.probe.analysis.test_analyze import timeless
from tests.unit.probe.calibration.test_calibrate import write_samples
from tests.unit.probe.evaluation.test_ablation import tiny_profile

TINY = ["--model", "./model", "--data", "data.jsonl", "--max-new-tokens", "2", "--probes", "shares,lens,contribution"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random checkpoint, its profile, that of another model, and data."""
    root = tmp_path_factory.mktemp("work")
    save_checkpoint("llava", root / "model")
    tiny_profile(load_model(str(root / "model"), device="cpu").model).save(root / "profile.json")
    unsaturated().save(root / "other.json")
    write_samples(root, 12)
    return root


@pytest.fixture
def folder(made: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(made)
    monkeypatch.setenv("COLUMNS", "80")
    return made


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run `halfv-probe analyze ...` in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["halfv-probe", "analyze", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def test_an_analysis_is_written_and_summed_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    options = ["--samples", "3", "--examples", "1", "--profile", "profile.json", "--output", "out/a.json"]
    assert run(*TINY, *options, monkeypatch=monkeypatch) == 0
    printed = capfd.readouterr()
    assert [path.name for path in (folder / "out").iterdir()] == ["a.json"]
    found = Analysis.load(folder / "out" / "a.json")
    assert [result.name for result in found.results] == ["shares", "lens", "contribution"]
    assert found.stages is not None and len(found.examples) == 1 and len(found.sample_ids) == 3
    assert found.provenance.arguments_given["probes"] == "shares,lens,contribution"
    assert "./model, 5 layers, 3 samples" in printed.out
    assert all(f"\n{name} " in printed.out for name in ("shares", "lens", "contribution"))
    assert max(map(len, printed.out.splitlines())) <= 80
    assert "wrote out/a.json" in printed.err


def test_json_is_the_file_and_nothing_else(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*TINY, "--samples", "2", "--output", "j.json", "--json", monkeypatch=monkeypatch) == 0
    assert json.loads(capfd.readouterr().out) == json.loads((folder / "j.json").read_text())


def test_a_budget_leaves_samples_out_and_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*TINY, "--budget", "0.001s", "--output", "b.json", monkeypatch=monkeypatch) == 0
    assert len(Analysis.load(folder / "b.json").sample_ids) == 10
    assert "not measured: the last 2 samples, to stay within the budget" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--probes", "shares,lenses"], "unknown probe; got 'lenses'; expected one of "),
        (["--profile", "other.json"], "this profile was made for another model; got llava"),
        (["--profile", "gone.json"], "cannot read profile gone.json"),
        (["--data", "gone.jsonl"], "gone.jsonl"),
        (["--output", "data.jsonl"], "data.jsonl"),
        (["--output", "profile.json", "--profile", "profile.json"], "profile.json"),
        (["--budget", "soon"], "soon"),
        (["--samples", "0"], "samples"),
        (["--model", "./gone"], "./gone"),
    ],
)
def test_what_a_user_can_repair_is_one_line(
    arguments: list[str],
    message: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert run(*TINY, "--output", "new.json", *arguments, monkeypatch=monkeypatch) == 2
    printed = capfd.readouterr()
    assert message in printed.err and printed.out == ""
    assert printed.err.startswith("halfv-probe: ") and printed.err.count("\n") == 1
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


@pytest.mark.slow
def test_after_kill_9_the_same_command_ends_with_the_same_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = folder / "k.json.unfinished"
    command = [sys.executable, "-W", "ignore", "-m", "cli.main", "analyze", *TINY, "--output", "k.json"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as running:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and (not journal.exists() or journal.read_bytes().count(b"\n") < 4):
            time.sleep(0.002)
        running.send_signal(signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL and not (folder / "k.json").exists()
    assert run(*TINY, "--output", "k.json", monkeypatch=monkeypatch) == 0
    assert not journal.exists()
    killed = timeless(Analysis.load(folder / "k.json"))
    assert run(*TINY, "--output", "k.json", monkeypatch=monkeypatch) == 0
    assert timeless(Analysis.load(folder / "k.json")) == killed
