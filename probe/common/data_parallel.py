"""DataParallel: processes with a whole model each, which share the samples that are measured.

    torchrun --nproc-per-node 8 measure.py

    data_parallel = DataParallel.from_torchrun()
    profile = calibrate(model, processor, samples, data_parallel=data_parallel)    # the same in every process

The first process leads: it alone takes the decisions and has the results. The others measure what it asks for. They
talk through the store in which torchrun's processes meet (`torch.distributed.Store`); values are small and on the CPU,
so neither a process group nor a backend is needed, and waiting can be interrupted.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from itertools import count
from typing import Any, TypeVar

from torch.distributed import DistError
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from halfv_core.errors import HalfVError, RunError
from halfv_core.failures import reason_of
from probe.common.presence import KEPT, WATCH, Presence, RankFailed, name_of
from probe.common.shared_values import SharedValues

V = TypeVar("V")

TIMEOUT = 3600.0
"""Seconds in which at least one item is finished, unless another limit is given."""
LONGEST_PAUSE = 0.25
"""Seconds between two looks into the store while nothing happens."""
LEAVING = 10.0
"""Seconds for which the first process waits for the others in the end."""

_uses = count()


class DataParallel:
    """This process among those that share the samples; `ALONE` by default.

    After a failure it is of no more use: the processes may have stopped at different places.
    """

    def __init__(
        self,
        store: Any = None,
        rank: int = 0,
        size: int = 1,
        *,
        local_rank: int = 0,
        machine: int = 0,
        timeout: float = TIMEOUT,
    ) -> None:
        """Join the other processes.

        Args:
            store: a `torch.distributed.Store` that all of them share and that nothing else uses; None for one process.
            rank: number of this process.
            size: number of processes.
            local_rank: number of this process among those of its machine.
            machine: number of the machine.
            timeout: the longest time without a finished item, seconds. After it the run ends with an error.
        """
        self.rank = rank
        self.size = size
        self.local_rank = local_rank
        self.machine = machine
        self._store = store
        self.timeout = timeout
        """Seconds."""
        self._values = SharedValues(store)
        self._messages = count()
        self._watched = self._moved = time.monotonic()
        self._progress = 0
        self.presence = Presence(store, rank, size) if size > 1 else None

    @classmethod
    def from_torchrun(cls, timeout: float = TIMEOUT) -> "DataParallel":
        """All processes that torchrun has started; `ALONE` without it. All of them call this equally often.

        Raises:
            RunError: the processes cannot meet.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) < 2:
            return ALONE
        try:
            store, rank, size = next(iter(rendezvous("env://", timeout=timedelta(minutes=5))))
            store.set_timeout(timedelta(seconds=60))
        except (RuntimeError, ValueError) as error:
            raise RunError(
                f"the processes cannot meet ({reason_of(error)})",
                remedy="start them by torchrun, which sets MASTER_ADDR, MASTER_PORT, RANK and WORLD_SIZE",
            ) from None
        local, machine = (int(os.environ.get(name, "0")) for name in ("LOCAL_RANK", "GROUP_RANK"))
        own = PrefixStore(f"halfv-probe {next(_uses)}", store)
        return cls(own, rank, size, local_rank=local, machine=machine, timeout=timeout)

    @property
    def is_first(self) -> bool:
        """Whether this process leads, and writes files."""
        return self.rank == 0

    def name(self, rank: int) -> str:
        """What a process is called in messages."""
        return name_of(rank, self.size)

    def tell(self, value: Any = None) -> Any:
        """The first process's value, which can be pickled, in every process."""
        if self.size == 1:
            return value
        key = f"message/{next(self._messages)}"
        if self.is_first:
            self._values.put(key, value)
            return value
        self._wait(lambda: key in self._values, lambda: self.name(0))
        return self._values.get(key)

    def of_first(self, compute: Callable[[], V]) -> V:
        """What the first process computes, in every process."""
        found: V = self.tell(compute() if self.is_first else None)
        return found

    def of_machine(self, compute: Callable[[], V]) -> V:
        """What the first process of each machine computes, in every process of that machine; all call this."""
        if self.size == 1:
            return compute()
        key = f"machine/{self.machine}/{next(self._messages)}"
        if self.local_rank == 0:
            value = compute()
            self._values.put(key, value)
            return value
        self._wait(lambda: key in self._values, lambda: f"the first process of machine {self.machine}")
        found: V = self._values.get(key)
        return found

    def collect(self, value: V) -> list[V]:
        """In the first process the values of all, by rank; in the others nothing."""
        if self.size == 1:
            return [value]
        number = next(self._messages)
        if not self.is_first:
            self._values.put(f"value/{number}/{self.rank}", value)
            return []
        keys = {rank: f"value/{number}/{rank}" for rank in range(1, self.size)}

        def missing() -> list[int]:
            return [rank for rank, key in keys.items() if key not in self._values]

        self._wait(lambda: not missing(), lambda: " and ".join(map(self.name, missing())))
        return [value, *(self._values.take(key) for key in keys.values())]

    def share(
        self,
        total: int,
        measure: Callable[[int], V],
        on_value: Callable[[], None] = lambda: None,
        *,
        label: Callable[[int], str] = str,
    ) -> list[V]:
        """Measure `total` items, each in the process that is free first; all processes call this.

        Args:
            total: number of items.
            measure: gets the number of an item, and returns what can be pickled.
            on_value: called in the first process as the items of all are finished.
            label: what an item is called in messages.

        Returns:
            In the first process all values, in the order of their numbers; in the others nothing.
        """
        if self.size == 1:
            return [_then(measure(number), on_value) for number in range(total)]
        task = f"task/{next(self._messages)}"
        values: dict[int, V] = {}
        collected = 0

        def collect() -> None:
            nonlocal collected
            while f"{task}/value/{collected}" in self._values:
                number, value = self._values.take(f"{task}/value/{collected}")
                values[number] = value
                collected += 1
                self._moved = time.monotonic()
                on_value()

        while (number := self._store.add(f"{task}/taken", 1) - 1) < total:
            self._watch_now_and_then()
            self._store.set(f"at/{self.rank}", label(number))
            value = measure(number)
            self._store.add("progress", 1)
            if self.is_first:
                values[number] = value
                on_value()
                collect()
            else:
                self._values.put(f"{task}/value/{self._store.add(f'{task}/finished', 1) - 1}", (number, value))
        self._store.set(f"at/{self.rank}", "")
        if not self.is_first:
            return []

        def complete() -> bool:
            collect()
            return len(values) == total

        self._wait(complete, self._busy)
        return [values[number] for number in range(total)]

    def check_same(self, given: Mapping[str, Any], but: str = "") -> None:
        """Make sure that all processes were given the same; all of them call this.

        Args:
            given: by the name of what it is.
            but: the name of what may differ.

        Raises:
            HalfVError: something differs.
        """
        for rank, other in enumerate(self.collect(dict(given))):
            for name in (name for name in given if name != but):
                if other.get(name) != given[name]:
                    raise HalfVError(
                        f"{self.name(rank)} has another {name}",
                        got=other.get(name),
                        expected=f"that of rank 0, {given[name]}",
                        remedy="give all processes the same command, model, data and packages",
                    )

    @contextmanager
    def together(self) -> Iterator[None]:
        """If the block fails in one process, it fails in all of them, in the others with `RankFailed`."""
        try:
            yield
        except DistError as error:
            if self.size == 1:
                raise
            raise RankFailed(f"{self.name(0)}, or its machine, is gone ({reason_of(error)}); {KEPT}", 1) from None
        except Exception as error:
            self.fail(error)
            raise

    def fail(self, error: Exception) -> None:
        """Tell the others that this process has failed; only the first failure counts."""
        if self.presence is not None:
            self.presence.fail(error)

    def leave(self, exit_code: int = 0) -> None:
        """Say that this process ends. The first one waits a little for the others, which may still use its store."""
        if self.presence is None:
            return
        with suppress(DistError):
            self.presence.leave(exit_code)
            deadline = time.monotonic() + LEAVING
            while self.is_first and time.monotonic() < deadline:
                if all(self.presence.code_of(rank) is not None for rank in range(1, self.size)):
                    break
                time.sleep(LONGEST_PAUSE)

    def _wait(self, ready: Callable[[], bool], for_whom: Callable[[], str]) -> None:
        """Wait, looking now and then whether the others are still there.

        Raises:
            RankFailed: another process has failed or is gone.
            RunError: nothing has been finished for too long.
        """
        pause = LONGEST_PAUSE / 32
        self._moved = time.monotonic()
        while not ready():
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)
            try:
                self._watch_now_and_then()
            except RankFailed:
                if ready():  # the other one has ended after what is waited for
                    return
                raise
            if time.monotonic() - self._moved > self.timeout:
                raise RunError(
                    f"nothing was finished for {self.timeout:g} seconds",
                    got=f"no answer from {for_whom()}",
                    remedy="see what keeps it, or allow more time; the same command goes on from what was measured",
                )

    def _watch_now_and_then(self) -> None:
        """Raise RankFailed if another process has failed, was stopped or is gone."""
        if time.monotonic() - self._watched < WATCH:
            return
        assert self.presence is not None
        self._watched = time.monotonic()
        progress = self._store.add("progress", 0)
        if progress != self._progress:
            self._progress, self._moved = progress, self._watched
        self.presence.check(range(1, self.size) if self.is_first else (0,))

    def _busy(self) -> str:
        """The processes that have not finished their item, with what they are at."""
        at = {
            rank: self._store.get(f"at/{rank}").decode()
            for rank in range(1, self.size)
            if self._store.check([f"at/{rank}"])
        }
        return " and ".join(f"{self.name(rank)}, at {label}" for rank, label in at.items() if label)


def _then(value: V, on_value: Callable[[], None]) -> V:
    on_value()
    return value


ALONE = DataParallel()
"""One process, which measures everything."""
