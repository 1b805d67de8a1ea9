"""Which of the processes that work together are still there.

Each one counts up in the common store while it lives, from a thread, so that a long pass of the model does not look
like its end. A process that was killed, or whose machine is lost, leaves nothing but a counter that stands still.
"""

import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from torch.distributed import DistError

BEAT = 0.5
"""Seconds between two signs of life."""
GONE = 45.0
"""After so many seconds without one a process is taken to be gone; what holds up a thread takes less."""


class Presence:
    """Gives signs of life of this process, and watches those of the others."""

    def __init__(self, store: Any, rank: int) -> None:
        """Give signs of life until `leave` is called.

        Args:
            store: a `torch.distributed.Store` that all processes share.
            rank: number of this process.
        """
        self._store = store
        self._rank = rank
        self._stop = threading.Event()
        self._seen: dict[int, tuple[int, float]] = {}
        threading.Thread(target=self._beat, name="signs of life", daemon=True).start()

    def leave(self, exit_code: int) -> None:
        """Say that this process ends in order, and with which code."""
        self._store.set(f"left/{self._rank}", str(exit_code))
        self._stop.set()

    def code_of(self, rank: int) -> int | None:
        """The code with which a process has ended in order; None if it has not."""
        key = f"left/{rank}"
        return int(self._store.get(key)) if self._store.check([key]) else None

    def gone(self, ranks: Iterable[int]) -> list[int]:
        """Those that have not given a sign of life for `GONE` seconds, as far as this was called often enough."""
        now, found = time.monotonic(), []
        for rank in ranks:
            beats = self._beats(rank)
            if beats != self._seen.get(rank, (-1, now))[0]:
                self._seen[rank] = beats, now
            elif now - self._seen[rank][1] > GONE and self.code_of(rank) is None:
                found.append(rank)
        return found

    def silent(self, ranks: Iterable[int], seconds: float = 5 * BEAT) -> list[int]:
        """Those that give no sign of life within so many seconds and have not left; waits no longer than it must."""
        before = {rank: self._beats(rank) for rank in ranks}
        deadline = time.monotonic() + seconds
        left = list(before)
        while left and time.monotonic() < deadline:
            time.sleep(BEAT / 5)
            left = [rank for rank in left if self._beats(rank) == before[rank] and self.code_of(rank) is None]
        return left

    def _beats(self, rank: int) -> int:
        return int(self._store.add(f"beat/{rank}", 0))

    def _beat(self) -> None:
        with suppress(DistError):  # the store is gone, which the main thread notices as well
            while not self._stop.wait(BEAT):
                self._store.add(f"beat/{self._rank}", 1)
