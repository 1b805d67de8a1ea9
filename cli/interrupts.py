"""Signals that ask the program to stop: they end the work in order, with one line and the usual exit code."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")
"""Ctrl-C, `kill` and schedulers, and a terminal that is closed; not every system has all of them."""
TOGETHER = 2.0
"""Seconds in which further signals are the same wish, so that they do not disturb what is put in order."""


class Stopped(BaseException):
    """Raised where the program is when a signal arrives; no handler of errors takes it for one."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number
        self._line = f"stopped by {signal.Signals(number).name}"

    def __str__(self) -> str:
        return self._line

    def keep(self, journal: Path) -> None:
        """Add that the work can go on, if there is a journal of it."""
        if journal.exists():
            self._line += f"; what was measured is kept in {journal}, and the same command goes on from there"


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise `Stopped` in the block when a signal arrives; signals that are ignored, as under nohup, stay ignored.

    After it, what `STOPPING` names is ignored, since the process is to end. Outside the main thread, which cannot have
    handlers, nothing is changed.
    """
    latest = -TOGETHER

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal latest
        before, latest = latest, time.monotonic()
        if latest - before >= TOGETHER:
            raise Stopped(number)

    numbers = [getattr(signal, name) for name in STOPPING if hasattr(signal, name)]
    old = {number: signal.getsignal(number) for number in numbers}
    try:
        for number, handler in old.items():
            if handler is not signal.SIG_IGN:
                signal.signal(number, stop)
    except ValueError:
        old = {}
    try:
        yield
    except Stopped:
        old = dict.fromkeys(old, signal.SIG_IGN)  # the process ends, and says nothing more while it does
        raise
    finally:
        for number, handler in old.items():
            if handler is not None:  # one that was not set from Python cannot be set again
                signal.signal(number, handler)


@contextmanager
def resumable(journal: Path) -> Iterator[None]:
    """Say where finished work is kept if the block is stopped."""
    try:
        yield
    except Stopped as stopped:
        stopped.keep(journal)
        raise
