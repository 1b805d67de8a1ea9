"""Commands that torchrun starts several times: one result, one voice, and nothing that kill -9 can cost."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from torch.distributed import HashStore

import cli.ranks
from cli.interrupts import Stopped
from cli.ranks import gpus_of
from cli.ranks import join as join_ranks
from halfv_core.errors import HalfVError
from probe.common.data_parallel import DataParallel
from tests.unit.cli.test_calibrate_resume import FAST, count, folder, run, timeless  # noqa: F401 - a fixture

QUICK = [*FAST, "--method", "fastv"]

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks for the processes in /proc")


def torchrun(ranks: int, *arguments: str) -> "subprocess.Popen[str]":
    """Start a command in several processes."""
    environment = os.environ | {
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    return subprocess.Popen(
        [*start, "-m", "cli.main", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def pid_of(rank: int, parent: int) -> int:
    """The process of a rank among the children of torchrun."""
    for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split():
        if f"\0RANK={rank}\0".encode() in Path(f"/proc/{child}/environ").read_bytes():
            return int(child)
    raise AssertionError(f"no rank {rank}")


def said(errors: str) -> list[str]:
    """The lines of the command itself."""
    return [line for line in errors.splitlines() if line.startswith("halfv-probe")]


@linux
def test_kill_9_of_one_process_is_one_line_and_the_rest_is_measured_by_others(
    folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    journals = [folder / f"profile.json.unfinished{end}" for end in ("", ".rank1")]
    with torchrun(2, *QUICK) as running:
        deadline = time.monotonic() + 300
        while min(map(count, journals)) < 4 and running.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(pid_of(1, running.pid), signal.SIGKILL)
        began = time.monotonic()
        printed, errors = running.communicate(timeout=120)
    assert running.returncode != 0 and time.monotonic() - began < 60
    assert said(errors) == [
        "halfv-probe: rank 1 of 2 is gone: killed, or out of memory, or its machine is lost; "
        "what was measured is kept, and the same command goes on from there"
    ]
    assert printed == "" and not (folder / "profile.json").exists()
    kept = sum(map(count, journals)) - len(journals)
    assert kept >= 6

    with torchrun(2, *QUICK, "--report", "report.html") as running:
        printed, errors = running.communicate(timeout=600)
    assert running.returncode == 0, errors
    assert printed.count("profile: profile.json") == 1 and (folder / "report.html").exists()
    assert not list(folder.glob("*.unfinished*"))
    together = timeless(folder / "profile.json")
    assert run(*QUICK, "--output", "alone.json", monkeypatch=monkeypatch) == 0
    assert without_arguments(together) == without_arguments(timeless(folder / "alone.json"))


def without_arguments(profile: str) -> str:
    found = json.loads(profile)
    del found["provenance"]["arguments_given"]
    return json.dumps(found)


OF_ONE_RUN = ("created", "first_token_ratio", "output", "prefill_ratio", "selection_share")
"""Names of what differs from run to run, beside seconds."""
OTHERS = {
    "evaluate": ["--samples", "4"],
    "compare-methods": ["--samples", "4", "--methods", "fastv", "--flops", "1.5"],
    "analyze": ["--samples", "4", "--probes", "shares,lens", "--examples", "1"],
}


@pytest.mark.slow
def test_other_commands_write_what_one_process_writes(
    folder: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(*QUICK, monkeypatch=monkeypatch) == 0
    for command, options in OTHERS.items():
        words = [command, "--model", "./model", "--data", "data.jsonl", "--profile", "profile.json", *options]
        with torchrun(2, *words, "--max-new-tokens", "3", "--output", f"{command}.json") as running:
            _, errors = running.communicate(timeout=600)
        assert running.returncode == 0, errors
        assert run(*words, "--max-new-tokens", "3", "--output", "alone.json", monkeypatch=monkeypatch) == 0
        together, alone = (json.loads(Path(name).read_text()) for name in (f"{command}.json", "alone.json"))
        assert without_times(together) == without_times(alone)
        assert not list(folder.glob("*.unfinished*"))


def without_times(found: Any) -> Any:
    if isinstance(found, dict):
        kept = (name for name in found if name not in OF_ONE_RUN and "second" not in name)
        return {name: without_times(found[name]) for name in kept}
    return [without_times(one) for one in found] if isinstance(found, list) else found


def test_what_all_processes_meet_is_said_once(tmp_path: Path) -> None:
    with torchrun(2, "calibrate", "--model", "tiny-llava", "--samples", "1") as running:
        printed, errors = running.communicate(timeout=300)
    assert running.returncode != 0 and printed == ""
    assert len(said(errors)) == 1 and said(errors)[0].startswith("halfv-probe: bad --samples")


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> HashStore:
    """The store of two processes, of which this one becomes either; the streams are put back after it."""
    found = HashStore()
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(DataParallel, "from_torchrun", lambda: DataParallel(found, int(os.environ["RANK"]), 2))
    monkeypatch.setattr("cli.ranks._processes", None)
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, getattr(sys, name))
    return found


@pytest.mark.parametrize("rank", [0, 1])
def test_other_commands_are_refused_by_the_first_process(
    rank: int, store: HashStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RANK", str(rank))
    store.set(f"left/{1 - rank}", "2")
    assert run("export", "profile.json", monkeypatch=monkeypatch) == 2
    line = capsys.readouterr().err
    if rank == 0:
        assert line.startswith("halfv-probe: `export` runs in one process, and several were started; got WORLD_SIZE=2")
        assert line.count("\n") == 1
    else:
        assert line == ""


def test_a_process_that_fails_alone_says_so_with_its_name(
    store: HashStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first one is in the middle of something else, so that it does not say it."""
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("cli.ranks.PATIENCE", 0.3)
    assert run("calibrate", "--model", "nowhere", monkeypatch=monkeypatch) == 2
    line = capsys.readouterr().err
    assert line.startswith("halfv-probe: rank 1 of 2: no model 'nowhere'") and line.count("\n") == 1
    assert store.get("left/1") == b"2"


@pytest.mark.parametrize("rank", [0, 1])
def test_a_signal_that_follows_a_failure_is_not_taken_for_a_wish(
    rank: int, store: HashStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchrun stops all others if one has failed."""
    monkeypatch.setenv("RANK", str(rank))
    join_ranks(["calibrate"])
    wish = Stopped(signal.SIGTERM)
    store.set(f"left/{1 - rank}", "143")
    assert cli.ranks.stopped(wish) == (("stopped by SIGTERM", 143) if rank == 0 else (None, 143))
    store.set("failed", f"{1 - rank} 2 no such image")
    if rank == 0:
        assert cli.ranks.stopped(wish) == ("rank 1 of 2: no such image", 2)
    store.set("announced", "")
    assert cli.ranks.stopped(wish) == (None, 143)


@pytest.mark.parametrize("rank", [0, 1])
def test_the_first_process_that_is_left_says_who_is_gone(
    rank: int, store: HashStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", str(rank))
    join_ranks(["calibrate"])
    line, code = cli.ranks.stopped(Stopped(signal.SIGTERM))
    assert line is not None and line.startswith(f"rank {1 - rank} of 2 is gone: killed") and code == 1


def test_processes_that_cannot_meet_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(HalfVError, match="the processes cannot meet .*MASTER_ADDR expected.*; start them by torchrun"):
        join_ranks(["calibrate"])


@pytest.mark.parametrize("text", ["soon", "0", "inf", "nan"])
def test_a_time_that_is_none_is_refused(text: str, store: HashStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("HALFV_RANK_TIMEOUT", text)
    with pytest.raises(HalfVError, match=f"bad HALFV_RANK_TIMEOUT; got '{text}'; expected seconds above 0"):
        join_ranks(["calibrate"])


@pytest.mark.parametrize(
    ("local_size", "gpus", "shares"),
    [
        (2, "01234567", ["0123", "4567"]),
        (8, "01234567", list("01234567")),
        (1, "0", ["0"]),
        (2, ("GPU-a", "GPU-b"), [("GPU-a",), ("GPU-b",)]),
    ],
)
def test_each_process_takes_gpus_of_its_own(local_size: int, gpus: Sequence[str], shares: Sequence[str]) -> None:
    assert [gpus_of(rank, local_size, gpus) for rank in range(local_size)] == shares


@pytest.mark.parametrize(("local_size", "gpus"), [(3, "01234567"), (2, "0")])
def test_gpus_that_do_not_come_out_even_are_refused(local_size: int, gpus: str) -> None:
    with pytest.raises(HalfVError, match=f"got {len(gpus)} for {local_size} processes; expected one or several"):
        gpus_of(0, local_size, gpus)
