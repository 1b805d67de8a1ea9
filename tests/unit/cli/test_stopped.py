"""Signals, full disks and images that vanish: one line, the right exit code, and nothing that was measured is lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cli.main
from cli.common import writing
from cli.interrupts import Stopped, stoppable
from halfv_core.errors import RunError
from probe.calibration.steps.curves import Curves
from tests.unit.cli.test_calibrate_resume import FAST, count, folder, run  # noqa: F401 - a fixture

Capture = pytest.CaptureFixture[str]
SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Put back the handlers of this process; begin with the usual ones, also in the background and under nohup."""
    before = {one: signal.getsignal(one) for one in SIGNALS}
    for one in SIGNALS:
        signal.signal(one, signal.default_int_handler if one == signal.SIGINT else signal.SIG_DFL)
    yield
    for one, handler in before.items():
        signal.signal(one, handler)


def test_handlers_are_put_back_after_work_that_was_not_stopped() -> None:
    before = [signal.getsignal(one) for one in SIGNALS]
    with stoppable():
        assert [signal.getsignal(one) for one in SIGNALS] != before
    assert [signal.getsignal(one) for one in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_one_line_and_its_exit_code(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """The second one, which comes while things are put in order, changes nothing."""
    tidied = []

    def work() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            os.kill(os.getpid(), number)
            tidied.append(True)

    monkeypatch.setattr("halfv_core.models.bundled_models", work)
    assert run("models", monkeypatch=monkeypatch) == 128 + number
    assert tidied == [True]
    assert capsys.readouterr() == ("", f"halfv-probe: stopped by {number.name}\n")
    assert {signal.getsignal(one) for one in SIGNALS} == {signal.SIG_IGN}  # until the process has ended


def test_a_signal_that_is_ignored_stays_so() -> None:
    """As under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with stoppable():
        os.kill(os.getpid(), signal.SIGHUP)


def test_a_later_signal_stops_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """If something swallows the first one, the program can still be stopped."""
    monkeypatch.setattr("cli.interrupts.TOGETHER", 0.0)
    with stoppable():
        for _ in range(2):
            with pytest.raises(Stopped):
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)


def test_two_interrupts_in_the_middle_of_a_calibration(
    folder: Path,  # noqa: F811
) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "cli.main", *FAST]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "HF_HUB_OFFLINE": "1"}
    journal = folder / "profile.json.unfinished"
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as running:
        while count(journal) < 3 and running.poll() is None:
            time.sleep(0.002)
        running.send_signal(signal.SIGINT)
        time.sleep(0.01)
        running.send_signal(signal.SIGINT)
        errors = running.communicate(timeout=60)[1]
    assert running.returncode == 130
    said = [line for line in errors.splitlines() if "━" not in line]
    kept = "what was measured is kept in profile.json.unfinished, and the same command goes on from there"
    assert said == [f"halfv-probe: stopped by SIGINT; {kept}"]
    assert journal.read_bytes().endswith(b"}\n") and count(journal) >= 3
    assert not [path for path in folder.iterdir() if path.suffix == ".tmp" or path.name == "profile.json"]


def test_images_that_vanish_cost_one_line_and_the_run_goes_on_when_they_are_back(
    folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    capfd: Capture,
) -> None:
    measure, done = Curves.measure, []

    def measured(self: Curves, model: Any, sample: Any) -> Any:
        if len(done) == 2:
            for path in folder.glob("*.png"):
                path.rename(path.with_suffix(".gone"))
        done.append(sample.id)
        return measure(self, model, sample)

    with monkeypatch.context() as patch:
        patch.setattr(Curves, "measure", measured)
        assert run(*FAST, monkeypatch=patch) == 2
    said = [line for line in capfd.readouterr().err.splitlines() if "━" not in line]
    assert len(said) == 1 and "4 of 6 samples cannot be used; got " in said[0] and "no image at " in said[0]
    assert not (folder / "profile.json").exists()
    assert (folder / "profile.json.unfinished").exists()


def test_a_disk_that_is_full_says_what_to_do() -> None:
    with pytest.raises(RunError, match="cannot write x: No space left on device; make room and run the same command"):
        with writing(Path("x")):
            raise OSError(28, "No space left on device")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device")
@pytest.mark.parametrize("words", [["models"], ["models", "--json"]])
def test_stdout_that_takes_nothing_is_one_line(words: list[str]) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "cli.main", *words]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    said = "halfv-probe: cannot write the output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_the_command_line_says_nothing_of_signals_when_there_are_none(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr(sys, "argv", ["halfv-probe", "models", "--json"])
    with pytest.raises(SystemExit) as left:
        cli.main.main()
    assert left.value.code in (0, None) and capsys.readouterr().err == ""
