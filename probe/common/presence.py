"""Which of the processes that work together are still there, and which one has failed.

Each one counts up in the common store while it lives, from a thread, so that a long pass of the model does not look
like its end. A process that was killed, or whose machine is lost, leaves nothing but a counter that stands still.
"""

import atexit
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from torch.distributed import DistError

from halfv_core.errors import RunError
from halfv_core.failures import failure_of, reason_of

BEAT = 0.5
"""Seconds between two signs of life."""
GONE = 45.0
"""After so many seconds without one a process is taken to be gone; what holds up a thread takes less."""
LOOK = 5.0
"""Longest time that counts between two looks, seconds."""
WATCH = 2.0
"""Seconds between two looks at the other processes."""
KEPT = "what was measured is kept, and the same command goes on from there"


class RankFailed(RunError):
    """Another process of the run has failed, so that this one cannot go on; ends with the code of the other one."""

    def __init__(self, line: str, exit_code: int) -> None:
        super().__init__(line)
        self.exit_code = exit_code


def name_of(rank: int, size: int) -> str:
    """What a process is called in messages."""
    return f"rank {rank} of {size}"


class Presence:
    """Gives signs of life of this process, and watches those of the others."""

    def __init__(self, store: Any, rank: int, size: int) -> None:
        """Give signs of life until `leave` is called.

        Args:
            store: a `torch.distributed.Store` that all processes share.
            rank: number of this process.
            size: number of processes.
        """
        self._store = store
        self._rank = rank
        self._size = size
        self._stop = threading.Event()
        self._seen: dict[int, tuple[int, float]] = {}
        self._looked = time.monotonic()
        self._thread = threading.Thread(target=self._beat, name="signs of life", daemon=True)
        self._thread.start()
        atexit.register(self._end)  # a thread that is in the store when the interpreter ends would abort the process

    def leave(self, exit_code: int) -> None:
        """Say that this process ends in order, and with which code."""
        self._store.set(f"left/{self._rank}", str(exit_code))
        self._end()

    def code_of(self, rank: int) -> int | None:
        """The code with which a process has ended in order; None if it has not."""
        key = f"left/{rank}"
        return int(self._store.get(key)) if self._store.check([key]) else None

    def gone(self, ranks: Sequence[int]) -> list[int]:
        """Those that have given no sign of life for `GONE` seconds.

        Time between two calls counts up to `LOOK` seconds, since all processes may have been suspended together.
        """
        now, found = time.monotonic(), []
        passed, self._looked = min(now - self._looked, LOOK), now
        for rank in ranks:
            beats = self._beats(rank)
            before, silence = self._seen.get(rank, (-1, 0.0))
            self._seen[rank] = beats, silence + passed if beats == before else 0.0
            if self._seen[rank][1] > GONE and self.code_of(rank) is None:
                found.append(rank)
        return found

    def silent(self, ranks: Sequence[int], seconds: float = 5 * BEAT) -> list[int]:
        """Those that give no sign of life within so many seconds and have not left; waits no longer than it must."""
        before = {rank: self._beats(rank) for rank in ranks}
        deadline = time.monotonic() + seconds
        left = list(before)
        while left and time.monotonic() < deadline:
            time.sleep(BEAT / 5)
            left = [rank for rank in left if self._beats(rank) == before[rank] and self.code_of(rank) is None]
        return left

    def check(self, ranks: Sequence[int]) -> None:
        """Raise RankFailed if a process has failed, or if one of these was stopped or is gone."""
        if failure := self.failure():
            raise failure
        if stopped := [rank for rank in ranks if self.code_of(rank) is not None]:
            time.sleep(WATCH)  # the signal that stopped it may have been for all
            raise self.failure() or RankFailed(f"{self._names(stopped)} was stopped; {KEPT}", 1)
        if gone := self.gone(ranks):
            raise self.lost(gone)

    def fail(self, error: Exception) -> None:
        """Tell the others that this process has failed; only the first failure counts."""
        if isinstance(error, RankFailed):
            return
        failure = failure_of(error)
        line = reason_of(error) if failure is None else str(failure)
        code = RunError.exit_code if failure is None else failure.exit_code
        with suppress(DistError):
            self._store.compare_set("failed", "", f"{self._rank} {code} {line}")

    def failure(self) -> RankFailed | None:
        """What the first process that failed has said, with its name, if one has."""
        if not self._store.check(["failed"]):
            return None
        rank, code, line = self._store.get("failed").decode().split(" ", 2)
        return RankFailed(f"{name_of(int(rank), self._size)}: {line}", int(code))

    def lost(self, ranks: Sequence[int]) -> RankFailed:
        """The error about processes that give no sign of life."""
        what = f"{self._names(ranks)} is gone: killed, or out of memory, or its machine is lost"
        return RankFailed(f"{what}; {KEPT}", 1)

    def announce(self) -> None:
        """Keep in mind that the user was told why the run has ended."""
        self._store.set("announced", "")

    def is_announced(self) -> bool:
        """Whether a process has told the user."""
        return bool(self._store.check(["announced"]))

    def _names(self, ranks: Sequence[int]) -> str:
        return " and ".join(name_of(rank, self._size) for rank in ranks)

    def _beats(self, rank: int) -> int:
        return int(self._store.add(f"beat/{rank}", 0))

    def _end(self) -> None:
        self._stop.set()
        self._thread.join(10 * BEAT)

    def _beat(self) -> None:
        with suppress(DistError):  # the store is gone, which the main thread notices as well
            while not self._stop.wait(BEAT):
                self._store.add(f"beat/{self._rank}", 1)
