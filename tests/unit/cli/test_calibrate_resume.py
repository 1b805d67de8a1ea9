"""`calibrate` after kill -9, run twice, and with something changed in between, in real processes with real files."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from cli.main import main
from halfv_core import Profile
from probe.calibration.steps.curves import Curves
from probe.calibration.steps.held_out_answers import HeldOutAnswers
from tests.checkpoints import save_checkpoint
from tests.unit.probe.calibration.test_calibrate import write_samples

COMMAND = ["calibrate", "--model", "./model", "--data", "data.jsonl", "--samples", "8", "--held-out", "0.25"]
FAST = [*COMMAND, "--max-new-tokens", "3", "--entropy-k", "5"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder of the commands, with a random checkpoint and data."""
    save_checkpoint("llava", tmp_path / "model")
    write_samples(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run `halfv-probe ...` in this process; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["halfv-probe", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def killed(journal: Path, lines: int) -> None:
    """Run the command in its own process, and kill it once the journal has this many lines."""
    command = [sys.executable, "-W", "ignore", "-m", "cli.main", *FAST]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as running:
        deadline = time.monotonic() + 120
        while count(journal) < lines and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        running.send_signal(signal.SIGKILL)
    assert running.returncode == -signal.SIGKILL


def count(path: Path) -> int:
    """Number of complete lines."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def timeless(path: Path) -> str:
    """The file without times."""
    found = json.loads(Profile.load(path) and path.read_text())
    for name in ("created", "seconds", "seconds_by_step"):
        del found["provenance"][name]
    return json.dumps(found)


def test_after_kill_9_the_same_command_ends_with_the_same_profile(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after the curves, with an incomplete last line."""
    profile, journal = folder / "profile.json", folder / "profile.json.unfinished"
    killed(journal, 14)
    assert 14 <= count(journal) < 29
    assert not profile.exists()
    with journal.open("ab") as stream:
        stream.write(b'{"name": "pla')
    recorded = {json.loads(line)["name"] for line in journal.read_bytes().splitlines()[1:-1]}
    measured = watched(monkeypatch)
    assert run(*FAST, monkeypatch=monkeypatch) == 0
    assert measured == []
    assert {f"curves/{name}" for name in Profile.load(profile).provenance.sample_ids} <= recorded
    assert not journal.exists()
    profile.rename(folder / "killed.json")
    assert run(*FAST, monkeypatch=monkeypatch) == 0
    assert len(measured) == 6
    assert timeless(folder / "killed.json") == timeless(profile)


def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the samples that are measured from now on."""
    found, measured = [], Curves.measure

    def recorded(self: Curves, model: Any, sample: Any) -> Any:
        found.append(sample.id)
        return measured(self, model, sample)

    monkeypatch.setattr(Curves, "measure", recorded)
    return found


class Stopped(BaseException):
    """Raised without warning, like a signal."""


@pytest.fixture
def journal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The journal of a command that was stopped after its curves."""

    def stop(*_: object) -> None:
        raise Stopped

    with monkeypatch.context() as patch, pytest.raises(Stopped):
        patch.setattr(HeldOutAnswers, "sample_count", stop)
        patch.setattr(sys, "argv", ["halfv-probe", *FAST])
        main()
    assert count(folder / "profile.json.unfinished") == 7
    return folder / "profile.json.unfinished"


def _train(folder: Path) -> list[str]:
    path = folder / "model" / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("down_proj.weight"))
    save_file(weights | {name: weights[name] + 1e-3}, path, metadata={"format": "pt"})
    return []


def _ask_otherwise(folder: Path) -> list[str]:
    path = folder / "data.jsonl"
    path.write_text(path.read_text().replace("w9", "w10"))
    return []


def _paint_otherwise(folder: Path) -> list[str]:
    for index in range(10):
        (folder / f"{index}.png").write_bytes((folder / f"{(index + 1) % 10}.png").read_bytes())
    return []


def _resize(folder: Path) -> list[str]:
    path = folder / "model" / "processor_config.json"
    path.write_text(path.read_text().replace('"shortest_edge": 32', '"shortest_edge": 40'))
    return []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: ["--seed", "1"], "another seed; got 1; expected 0; "),
        (lambda _: ["--max-new-tokens", "4"], "another max_new_tokens; got 4; expected 3; "),
        (lambda _: ["--target-flops", "2"], "another target_flops; got 2.0; expected null; "),
        (lambda _: ["--dtype", "bfloat16"], 'another dtype; got "bfloat16"; expected "float32"; '),
        (_train, "another weights; got "),
        (_ask_otherwise, "another data; got "),
        (_paint_otherwise, "another data; got "),
        (_resize, "another setup; got "),
    ],
)
def test_what_has_changed_is_named_and_refused(
    change: Callable[[Path], list[str]],
    message: str,
    journal: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = journal.read_bytes()
    more = change(folder)
    capfd.readouterr()
    assert run(*FAST, *more, monkeypatch=monkeypatch) == 2
    output, errors = capfd.readouterr()
    assert f"profile.json.unfinished holds unfinished work with {message}" in errors
    assert errors.startswith("halfv-probe: ") and errors.count("\n") == 1
    assert errors.endswith("choose another --output, or delete it to begin anew\n")
    assert output == ""
    assert journal.read_bytes() == before
    assert not (folder / "profile.json").exists()
