"""What processes tell each other, and what they notice about each other; here they are threads with a store."""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest
from torch.distributed import HashStore, PrefixStore, TCPStore

from halfv_core.errors import DataError, HalfVError, RunError
from probe.common import data_parallel, presence
from probe.common.data_parallel import ALONE, DataParallel
from probe.common.presence import RankFailed
from probe.common.shared_values import CHUNK, SharedValues


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (data_parallel, presence):
        monkeypatch.setattr(module, "WATCH", 0.05)
    monkeypatch.setattr(data_parallel, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(presence, "BEAT", 0.05)


def together(size: int, work: Callable[[DataParallel], Any], timeout: float = 60.0) -> list[Any]:
    """What each of some threads returns or raises."""
    store, results = HashStore(), [None] * size

    def run(rank: int) -> None:
        with suppress(SystemExit):
            team = DataParallel(PrefixStore("p", store), rank, size, timeout=timeout)
            try:
                with team.together():
                    results[rank] = work(team)
            except Exception as error:  # noqa: BLE001 - it is the result
                results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    return results


@pytest.mark.parametrize("size", [1, 2, 5])
def test_items_are_measured_once_each_and_come_back_in_order(size: int) -> None:
    measured: list[int] = []

    def work(team: DataParallel) -> Any:
        counted = []

        def measure(number: int) -> int:
            measured.append(number)
            time.sleep(0.001)
            return number * number

        values = [team.share(total, measure, lambda: counted.append(1)) for total in (7, 0, 3)]
        return values, len(counted), team.tell("done" if team.is_first else None), team.collect(team.rank)

    first, *others = together(size, work) if size > 1 else [work(ALONE)]
    squares = [number * number for number in range(7)]
    assert first == ([squares, [], squares[:3]], 10, "done", list(range(size)))
    assert others == [([[], [], []], 0, "done", [])] * (size - 1)
    assert sorted(measured) == sorted([*range(7), *range(3)])


def test_a_slow_process_measures_less() -> None:
    both = threading.Barrier(2)

    def work(team: DataParallel) -> int:
        own = []

        def measure(number: int) -> None:
            if not own:
                both.wait()  # each has taken one
            own.append(number)
            time.sleep(0.2 if team.rank else 0.01)

        team.share(12, measure)
        return len(own)

    fast, slow = together(2, work)
    assert fast + slow == 12 and 1 <= slow < fast


def test_a_failure_is_raised_by_all_with_its_place_and_its_exit_code() -> None:
    reached = threading.Event()

    def work(team: DataParallel) -> None:
        def measure(number: int) -> None:
            if team.rank == 1:
                reached.set()
                raise DataError("no such image")
            reached.wait()
            time.sleep(0.05)

        team.share(40, measure)

    first, failed, last = together(3, work)
    assert type(failed) is DataError
    for error in (first, last):
        assert isinstance(error, RankFailed) and error.exit_code == 2
        assert str(error) == "rank 1 of 3: no such image"


def test_a_fault_of_the_program_is_told_too() -> None:
    def work(team: DataParallel) -> None:
        if team.is_first:
            raise KeyError("x")
        team.tell()

    fault, other = together(2, work)
    assert type(fault) is KeyError
    assert (str(other), other.exit_code) == ("rank 0 of 2: KeyError: 'x'", 1)


def test_a_process_without_a_sign_of_life_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "GONE", 1.0)

    def work(team: DataParallel) -> None:
        assert team.presence is not None
        if team.rank == 1:
            team.presence._stop.set()  # as if it was killed
            return
        team.share(1, lambda number: None) if team.rank == 2 else team.collect(None)

    began = time.monotonic()
    first, _, last = together(3, work)
    assert isinstance(first, RankFailed) and first.exit_code == 1
    assert str(first).startswith("rank 1 of 3 is gone: killed, or out of memory")
    assert str(first).endswith("what was measured is kept, and the same command goes on from there")
    assert last is None or isinstance(last, RankFailed)
    assert time.monotonic() - began < 20


def test_a_time_in_which_all_were_suspended_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presence, "LOOK", 0.1)
    monkeypatch.setattr(presence, "GONE", 0.15)
    watching = presence.Presence(HashStore(), 0, 2)
    assert watching.gone([1]) == []
    time.sleep(0.5)
    assert watching.gone([1]) == []
    time.sleep(0.5)
    assert watching.gone([1]) == [1]
    watching.leave(0)


def test_a_process_that_was_stopped_is_named() -> None:
    def work(team: DataParallel) -> None:
        if team.rank == 1:
            team.leave(143)
        else:
            team.collect(None)

    first, _ = together(2, work)
    assert str(first).startswith("rank 1 of 2 was stopped; what was measured is kept")


def test_what_hangs_is_named_with_what_it_is_at() -> None:
    both = threading.Barrier(2)

    def work(team: DataParallel) -> None:
        def measure(number: int) -> None:
            both.wait()  # each has taken one
            time.sleep(1.5 * team.rank)

        team.share(2, measure, label=lambda number: f"sample 's{number}'")

    first, _ = together(2, work, timeout=0.5)
    assert type(first) is RunError
    assert "nothing was finished for 0.5 seconds; got no answer from rank 1 of 2, at sample 's" in str(first)
    assert str(first).endswith("see what keeps it, or allow more time; the same command goes on from what was measured")


def test_those_who_are_silent_are_told_from_those_who_left() -> None:
    def work(team: DataParallel) -> Any:
        assert team.presence is not None
        if team.rank == 1:
            team.presence._stop.set()
        elif team.rank == 2:
            team.presence.leave(143)
        elif team.rank == 0:
            return team.presence.silent(range(1, 4), 0.5)
        time.sleep(0.7)
        return None

    assert together(4, work)[0] == [1]


def test_what_was_given_to_another_process_is_refused() -> None:
    def work(team: DataParallel) -> None:
        team.check_same({"model": "m", "device": f"cuda:{team.rank}", "data": str(team.rank == 2)}, but="device")
        team.tell()

    first = together(3, work)[0]
    assert type(first) is HalfVError
    assert "rank 2 of 3 has another data; got True; expected that of rank 0, False; give all" in str(first)


def test_values_larger_than_an_entry_of_the_store_come_through() -> None:
    store = TCPStore("127.0.0.1", 0, None, True, timedelta(seconds=20))
    values, large = SharedValues(store), bytes(range(256)) * (2 * CHUNK // 256) + b"end"
    values.put("k", large)
    assert "k" in values and values.get("k") == large
    assert values.take("k") == large
    assert "k" not in values and not store.check(["k/0"])


def test_alone_there_is_nobody_to_tell_or_to_wait_for() -> None:
    ALONE.leave()
    ALONE.fail(DataError("x"))
    assert ALONE.presence is None and ALONE.is_first and ALONE.tell(3) == 3 and ALONE.of_first(lambda: 4) == 4
    with pytest.raises(DataError), ALONE.together():
        raise DataError("x")


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert DataParallel.from_torchrun() is ALONE
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert DataParallel.from_torchrun() is ALONE
