"""The contract of the command line: exit codes, one-line errors, and quick help."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cli.main
from halfv_core.errors import HalfVError, RunError
from tests import profiles


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the real program in its own process."""
    command = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def saved(path: Path, change: Callable[[dict[str, Any]], None] = lambda data: None) -> Path:
    """Save a profile after changing its data."""
    data = profiles.qwen_like().model_dump(mode="json")
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def truncated(path: Path) -> Path:
    text = saved(path).read_text()
    path.write_text(text[: len(text) // 2])
    return path


BAD_PROFILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "missing": (lambda path: path, "cannot read profile"),
    "truncated": (truncated, "is not whole JSON"),
    "other schema": (lambda path: saved(path, lambda data: data.update(schema_version=99)), "got schema_version 99"),
    "unknown field": (lambda path: saved(path, lambda data: data.update(extra=1)), "is not valid: extra"),
    "folder": (lambda path: path.parent, "Is a directory"),
}


@pytest.mark.parametrize("make, words", BAD_PROFILES.values(), ids=BAD_PROFILES.keys())
def test_a_bad_profile_is_one_line_and_exit_code_2(tmp_path: Path, make: Callable[[Path], Path], words: str) -> None:
    done = run("export", str(make(tmp_path / "profile.json")))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("halfv-probe: ") and words in done.stderr
    assert done.stderr.count("\n") == 1 and done.stderr.endswith("\n")


def test_a_good_run_says_nothing_on_stderr(tmp_path: Path) -> None:
    done = run("export", str(saved(tmp_path / "profile.json")))
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["schema_version"] == 1


def test_help_lists_every_command_without_importing_torch() -> None:
    code = (
        "import sys, cli.main; sys.argv[1:] = ['--help']\ntry: cli.main.main()\nfinally: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "False"
    for command in cli.main.app.registered_commands:
        assert command.callback is not None and command.callback.__name__.replace("_", "-") in done.stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (HalfVError("wrong", got=1, expected=2, remedy="mend it"), 2),
        (RunError("it failed"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_how_errors_leave(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, code: int
) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr("halfv_core.models.bundled_models", fail)
    monkeypatch.setattr(sys, "argv", ["halfv-probe", "models"])
    with pytest.raises(SystemExit) as left:
        cli.main.main()
    assert left.value.code == code
    expected = f"halfv-probe: {error}\n" if isinstance(error, HalfVError) else ""
    assert capsys.readouterr() == ("", expected)


def test_one_process_of_torchrun_is_fine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"WORLD_SIZE": "1", "RANK": "0", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["halfv-probe", "models"])
    with pytest.raises(SystemExit) as left:
        cli.main.main()
    assert left.value.code == 0


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("halfv_core.models.bundled_models", fail)
    monkeypatch.setattr(sys, "argv", ["halfv-probe", "models"])
    with pytest.raises(ZeroDivisionError):
        cli.main.main()
