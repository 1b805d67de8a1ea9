"""The processes that torchrun has started for one command: the first one shows and writes, the others are silent.

    torchrun --nproc-per-node 8 -m cli.main calibrate ...

What one of them fails at is said once, with its name, and all of them end with the same code.
"""

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import TextIOBase
from pathlib import Path
from signal import SIGTERM
from typing import TYPE_CHECKING, TextIO

from cli.common import writing
from cli.interrupts import Stopped

if TYPE_CHECKING:
    from probe.common.data_parallel import DataParallel

TOGETHER = ("calibrate", "analyze", "evaluate", "compare-methods")
"""Commands that several processes run."""
ONE_MODEL = "--tensor-parallel"
"""Option with which all processes run one model together, in any command that has it."""
TIMEOUT = "HALFV_RANK_TIMEOUT"
"""Environment variable with the longest time without a finished sample, seconds."""
PATIENCE = 10.0
"""Seconds that a process which fails leaves to the first one, which may fail in the same way, to say it."""

_processes: "DataParallel | None" = None


class Nowhere(TextIOBase):
    """A stream that takes everything."""

    def write(self, text: str) -> int:
        """Drop the text."""
        return len(text)


def processes() -> "DataParallel":
    """Those of this command."""
    from probe.common.data_parallel import ALONE

    return _processes or ALONE


def join(words: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
    """Join the other processes of torchrun, if there are any; if this is not the first, it is silent from here on.

    Args:
        words: the command line.

    Raises:
        HalfVError: the command is for one process.
        RunError: the processes cannot meet.
    """
    global _processes
    world = environment.get("WORLD_SIZE", "1")
    if "RANK" not in environment or not world.isdecimal() or int(world) < 2:
        return
    if environment["RANK"] != "0":
        sys.stdout = sys.stderr = Nowhere()
    from halfv_core.errors import HalfVError
    from probe.common.data_parallel import DataParallel

    _processes = DataParallel.from_torchrun()
    _processes.timeout = _timeout(environment)
    name = next((word for word in words if not word.startswith("-")), None)
    runs_one_model = any(word.partition("=")[0] == ONE_MODEL for word in words)
    if name is not None and name not in TOGETHER and not runs_one_model:
        raise HalfVError(
            f"`{name}` runs in one process, and several were started",
            got=f"WORLD_SIZE={world}",
            expected="WORLD_SIZE=1 or none",
            remedy="run it without torchrun; --device auto uses all GPUs",
        )


def _timeout(environment: Mapping[str, str]) -> float:
    from halfv_core.errors import HalfVError
    from probe.common.data_parallel import TIMEOUT as DEFAULT

    text = environment.get(TIMEOUT, str(DEFAULT))
    with suppress(ValueError):
        if 0.0 < float(text) < float("inf"):
            return float(text)
    raise HalfVError(f"bad {TIMEOUT}", got=repr(text), expected="seconds above 0")


def sharing(device: str = "auto", tensor_parallel: int | None = None) -> "DataParallel":
    """The processes that share the samples, each of which gets GPUs of its own; called before a model is loaded.

    Args:
        device: what the user asked for.
        tensor_parallel: over how many processes one model is split; then they share no samples.

    Raises:
        HalfVError: there are GPUs, and they cannot be shared out.
    """
    from probe.common.data_parallel import ALONE

    found = ALONE if tensor_parallel is not None and tensor_parallel > 1 else processes()
    if found.size > 1:
        from halfv_core.errors import HalfVError

        if device not in ("auto", "cpu"):
            raise HalfVError(
                "each process of torchrun takes GPUs of its own", got=f"--device {device}", remedy="leave out --device"
            )
        if device == "auto":
            take_gpus(int(os.environ.get("LOCAL_RANK", "0")), int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    return found


def take_gpus(local_rank: int, local_size: int) -> None:
    """Let this process see its share of this machine's GPUs, before it uses any."""
    import torch

    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = [str(index) for index in range(torch.cuda.device_count())] if listed is None else listed.split(",")
    if torch.cuda.device_count():
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(gpus_of(local_rank, local_size, gpus))


def gpus_of(local_rank: int, local_size: int, gpus: Sequence[str]) -> Sequence[str]:
    """The GPUs of one of the processes of a machine: equally many for each, next to each other.

    Args:
        local_rank: number of the process on its machine.
        local_size: how many there are.
        gpus: names or numbers of all GPUs.

    Raises:
        HalfVError: they are too few, or do not come out even.
    """
    from halfv_core.errors import HalfVError

    if len(gpus) % local_size or not gpus:
        raise HalfVError(
            "the GPUs of this machine cannot be shared out equally",
            got=f"{len(gpus)} for {local_size} processes",
            expected="one or several for each",
            remedy="set --nproc-per-node to a number that divides them, choose some by CUDA_VISIBLE_DEVICES, or give "
            "--device cpu",
        )
    each = len(gpus) // local_size
    return gpus[local_rank * each : (local_rank + 1) * each]


@contextmanager
def saving(output: Path, journal: Path, *more_journals: Path) -> Iterator[bool]:
    """Around what writes the result: the first process does, and then all of them delete their journals.

    Yields:
        Whether this is the first process.

    Raises:
        HalfVError: the file cannot be written.
    """
    from probe.common.journals import discard

    with processes().together(), writing(output):
        yield processes().is_first
        processes().tell()  # it is written
        for each in (journal, *more_journals):
            discard(each)


def failed(error: Exception) -> Exception | None:
    """What this process has to say about an error that ends it; None if another one says it."""
    found = processes()
    found.fail(error)
    if found.is_first:
        return error
    from probe.common.presence import RankFailed

    assert found.presence is not None
    deadline = time.monotonic() + PATIENCE
    with suppress(RuntimeError):
        while time.monotonic() < deadline:
            if found.presence.code_of(0) is not None:
                return None
            time.sleep(0.1)
        found.presence.announce()
        return error if isinstance(error, RankFailed) else found.presence.failure()
    return error


def stopped(signal: Stopped) -> tuple[str | None, int]:
    """What this process has to say about a signal that ends it, or None, and its exit code.

    torchrun stops all processes when one of them has failed or was killed. The first of those that are left says it.
    """
    found = _processes
    if found is None or found.presence is None:
        return str(signal), signal.exit_code
    if signal.exit_code != 128 + SIGTERM:
        return (str(signal) if found.is_first else None), signal.exit_code
    with suppress(RuntimeError):
        if found.presence.is_announced():
            return None, signal.exit_code
        lower = range(found.rank)
        silent = found.presence.silent(lower or range(1, found.size))
        if len(silent) < len(lower):
            return None, signal.exit_code
        if error := found.presence.failure() or (found.presence.lost(silent) if silent else None):
            return str(error), error.exit_code
    return str(signal), signal.exit_code


def leave(code: int) -> int:
    """End together; the exit code of all processes, which is that of the first one, unless it succeeded."""
    found = _processes
    if found is None or found.presence is None:
        return code
    with suppress(RuntimeError):
        if not found.is_first:
            while code == 0 and found.presence.code_of(0) is None and not found.presence.gone([0]):
                time.sleep(0.1)
            code = found.presence.code_of(0) or code
        found.leave(code)
    return code


def show(line: str, stream: TextIO) -> None:
    """Print a line, unless the terminal is gone."""
    with suppress(OSError):
        print(f"halfv-probe: {line}", file=stream, flush=True)
