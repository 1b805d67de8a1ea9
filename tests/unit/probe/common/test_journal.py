"""A journal: which records survive, which lines are dropped, and which files are refused."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfv_core.errors import HalfVError
from probe.common import journal as module
from probe.common.journal import Journal

KEY: dict[str, Any] = {"model": "x", "plan": {"layers": [1, 2]}, "seed": 0}
RECORDS: list[dict[str, Any]] = [{"id": "a", "curve": [0.1, 1 / 3]}, {"id": "ü\n\ud800", "curve": []}]


def write(path: Path, records: list[dict[str, Any]] = RECORDS) -> bytes:
    with Journal.open(path, KEY) as journal:
        for record in records:
            journal.add(record)
    return path.read_bytes()


def test_work_goes_on_after_what_is_there(tmp_path: Path) -> None:
    write(tmp_path / "j")
    with Journal.open(tmp_path / "j", KEY) as journal:
        assert journal.records == RECORDS
        journal.add({"id": "c"})
    with Journal.open(tmp_path / "j", KEY) as journal:
        assert journal.records == [*RECORDS, {"id": "c"}]
        journal.discard()
    assert not (tmp_path / "j").exists()


def test_a_record_is_in_the_file_once_add_returns(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j", KEY) as journal:
        journal.add(RECORDS[0])
        line = json.loads((tmp_path / "j").read_bytes().splitlines()[-1])
        assert line == RECORDS[0] | {"crc32": line["crc32"]}


def test_a_line_that_was_changed_is_refused(tmp_path: Path) -> None:
    """What a record holds is not looked at again, so it must be what was measured."""
    whole = write(tmp_path / "j")
    for old, new in ((b"0.1", b"0.2"), (b'"curve"', b'"curves"'), (b'"seed": 0', b'"seed": NaN'), (b"crc32", b"crc")):
        (tmp_path / "j").write_bytes(whole.replace(old, new, 1))
        with pytest.raises(
            HalfVError, match=r"j is damaged; got line [12] with another checksum; delete it, or choose"
        ):
            Journal.open(tmp_path / "j", KEY)


def test_a_run_cut_off_anywhere_leaves_the_whole_lines(tmp_path: Path) -> None:
    """However far the last write got, the records before it survive, and resuming gives the same file."""
    whole = write(tmp_path / "j")
    for length in range(len(whole) + 1):
        (tmp_path / "j").write_bytes(whole[:length])
        with Journal.open(tmp_path / "j", KEY) as journal:
            done = len(journal.records)
            assert done == max(0, whole[:length].count(b"\n") - 1)
            for record in RECORDS[done:]:
                journal.add(record)
        assert (tmp_path / "j").read_bytes() == whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "holds unfinished work with another seed; got 1; expected 0; choose another --output, or delete"),
        ({"plan": {"layers": [1]}}, 'another plan; got {"layers": [1]}; expected {"layers": [1, 2]}'),
        ({"new": "y"}, 'another new; got "y"; expected null'),
        ({"model": "m" * 100}, 'another model; got "' + "m" * 76 + "...; expected"),
    ],
)
def test_other_work_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    before = write(tmp_path / "j")
    with pytest.raises(HalfVError) as caught:
        Journal.open(tmp_path / "j", KEY | change)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "j").read_bytes() == before


def test_a_key_that_lost_a_field_is_another(tmp_path: Path) -> None:
    write(tmp_path / "j")
    with pytest.raises(HalfVError, match="another seed; got null; expected 0"):
        Journal.open(tmp_path / "j", {name: value for name, value in KEY.items() if name != "seed"})


def test_a_second_run_is_refused_while_the_first_is_at_work(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j", KEY) as journal:
        journal.add(RECORDS[0])
        before = (tmp_path / "j").read_bytes()
        with pytest.raises(HalfVError, match="j is in use by another run; .*; wait until it ends, or choose another"):
            Journal.open(tmp_path / "j", KEY)
        assert (tmp_path / "j").read_bytes() == before
        journal.add(RECORDS[1])
    with Journal.open(tmp_path / "j", KEY) as journal:
        assert journal.records == RECORDS


def test_another_process_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from probe.common.journal import Journal
journal = Journal.open(Path({str(tmp_path / "j")!r}), {KEY!r})
journal.add({RECORDS[0]!r})
print("open", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stdout.readline() == b"open\n"
        with pytest.raises(HalfVError, match="in use by another run"):
            Journal.open(tmp_path / "j", KEY)
        running.kill()
    with Journal.open(tmp_path / "j", KEY) as journal:
        assert journal.records == RECORDS[:1]


def test_runs_started_at_once_leave_a_journal_that_can_be_resumed(tmp_path: Path) -> None:
    def run(name: str) -> None:
        together.wait()
        try:
            with Journal.open(path, KEY) as journal:
                journal.add({"name": name})
        except HalfVError:
            refused.append(name)

    for trial in range(20):
        path, together, refused = tmp_path / str(trial), threading.Barrier(4), list[str]()
        threads = [threading.Thread(target=run, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with Journal.open(path, KEY) as journal:
            assert sorted([str(record["name"]) for record in journal.records] + refused) == list("abcd")


def test_a_journal_deleted_by_the_run_that_finished_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "j")
    lock = module._lock

    def finished_in_between(stream: IO[bytes]) -> None:
        monkeypatch.setattr(module, "_lock", lock)
        (tmp_path / "j").unlink()
        lock(stream)

    monkeypatch.setattr(module, "_lock", finished_in_between)
    with Journal.open(tmp_path / "j", KEY) as journal:
        assert journal.records == []
        journal.add(RECORDS[0])
    with Journal.open(tmp_path / "j", KEY) as journal:
        assert journal.records == RECORDS[:1]


def test_the_records_of_two_runs_are_refused(tmp_path: Path) -> None:
    """As runs left them that were started at once before journals were locked."""
    key = json.dumps({"key": KEY}).encode() + b"\n"
    (tmp_path / "j").write_bytes(key + b'{"name": "a"}\n' + key)
    with pytest.raises(HalfVError, match="mixed records of two runs; .*; delete it, or choose another --output"):
        Journal.open(tmp_path / "j", KEY)


@pytest.mark.parametrize(
    "text",
    [b"hello\n", b"[" * 100_000 + b"\n", b"[1]\n", b'{"id": 1}\n', b'{"key": {}}\n{"id"\n{}\n', b"\xff\n"],
    ids=lambda text: text[:9].hex(),
)
def test_another_file_is_not_touched(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "j").write_bytes(text)
    with pytest.raises(HalfVError, match="is not a journal of unfinished work; delete it, or choose another --output"):
        Journal.open(tmp_path / "j", KEY)
    assert (tmp_path / "j").read_bytes() == text


def test_what_no_other_program_can_read_is_not_written(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j", KEY) as journal:
        with pytest.raises(ValueError, match="not JSON compliant"):
            journal.add({"loss": float("nan")})
        assert journal.records == []


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_numbers_come_back_to_the_last_bit(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = tmp_path_factory.mktemp("journal") / "j"
    write(path, [{"curve": list(values)}])
    with Journal.open(path, KEY) as journal:
        assert journal.records == [{"curve": values}]
