"""Runs damaged files through what reads them, and says what ended otherwise than it should.

Right ends: success, or exit code 1 or 2 with nothing but one line `halfv-probe: ...` after the notes about the data.
"""

import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import IO, NamedTuple

from halfv_core.failures import failure_of
from tests.fuzz.mutations import Mutation

SECONDS = 20
"""Most CPU time that a command may take on one of these small inputs."""
MEMORY = 4 << 30
"""Most that a command may ask for on top of what the process has, bytes; asking for more is a fault."""


@dataclass(frozen=True)
class Target:
    """A file, how it is damaged, and what then reads it."""

    name: str
    prepare: Callable[[Path], None]
    """Writes the whole files into a folder."""
    file: str
    """The one that is damaged."""
    mutate: Mutation
    reads: tuple[tuple[str, ...] | Callable[[], None], ...]
    """Arguments of halfv-probe, or functions, that are run in turn, in that folder."""
    count: int = 100
    """Damages in a whole campaign."""


class Case(NamedTuple):
    """One damage; the same for a seed, a target and an index."""

    target: Target
    index: int
    seed: int

    def __str__(self) -> str:
        return f"{self.target.name} {self.index}"

    @property
    def again(self) -> str:
        """The command that runs this case alone."""
        return f"python -m tests.fuzz --seed {self.seed} --only {self.target.name} --from {self.index} --count 1"


class End(NamedTuple):
    """How a command ended."""

    code: int | str
    """Exit code, or why there is none: the last line of a traceback, or "no end"."""
    errors: str
    """What it wrote on stderr, with the traceback if there was one."""

    @property
    def fault(self) -> str | None:
        """What is wrong with it, None if nothing is; the same words for the same kind."""
        if isinstance(self.code, str):
            return self.code
        lines = self.errors.splitlines()
        said = [line for line in lines if line.startswith("halfv-probe: ")]
        if "Traceback (most recent call last)" in self.errors:
            return "a traceback on stderr"
        if self.code == 0:
            return "success, with an error line" if said else None
        if self.code not in (1, 2):
            return f"exit code {self.code}"
        if len(said) != 1 or lines[-1] != said[0]:
            return f"{len(said)} error lines, and {lines[-1][:80] if lines else 'nothing'} last"
        if "out of memory" in said[0]:
            return "more memory asked for than these inputs can need"
        return None


class Fault(NamedTuple):
    """A case that ended as it should not."""

    case: Case
    kind: str
    details: str


class NoEnd(BaseException):
    """Raised when the time is up; no handler of exceptions catches it."""


def damage(case: Case, folder: Path) -> bytes:
    """The damaged bytes of a case, whose whole files are in this folder."""
    target = case.target
    return target.mutate((folder / target.file).read_bytes(), random.Random(f"{case.seed}/{target.name}/{case.index}"))


def run_case(case: Case, folder: Path) -> Fault | None:
    """Damage the file of a prepared folder, run one of its readers, and put everything back."""
    file = folder / case.target.file
    whole, before = file.read_bytes(), set(folder.rglob("*"))
    reads = case.target.reads[case.index % len(case.target.reads)]
    file.write_bytes(damage(case, folder))
    try:
        end = ended(reads, folder)
        left = [path.name for path in folder.rglob("*.tmp")]
    finally:
        for path in sorted(set(folder.rglob("*")) - before, reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        file.write_bytes(whole)
    kind = end.fault or (f"left {left[0]}" if left else None)
    return None if kind is None else Fault(case, kind, f"{reads}\n{end.errors}")


def ended(reads: tuple[str, ...] | Callable[[], None], folder: Path, seconds: float = SECONDS) -> End:
    """Run a command, or a function as a command, in this process."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        with captured() as errors:
            code = _code(reads, seconds)
            sys.stderr.flush()
            errors.seek(0)
            return End(code, errors.read().decode(errors="replace"))
    finally:
        os.chdir(before)


def _code(reads: tuple[str, ...] | Callable[[], None], seconds: float) -> int | str:
    try:
        with time_limit(seconds), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if callable(reads):
                reads()
            else:
                _command(reads)
    except SystemExit as stopped:
        return stopped.code if isinstance(stopped.code, int) else 0
    except NoEnd:
        return f"no end within {seconds:.0f} s"
    except Exception as error:
        failure = failure_of(error) if callable(reads) else None
        if failure is not None:
            print(f"halfv-probe: {failure}", file=sys.stderr)
            return failure.exit_code
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "site-packages" not in frame.filename] or frames
        sys.stderr.write("".join(traceback.format_exception(error))[-8000:])
        return f"{type(error).__name__} in {Path(ours[-1].filename).name}:{ours[-1].name}"
    return 0


def _command(arguments: tuple[str, ...]) -> None:
    from cli.main import main

    before, sys.argv = sys.argv, ["halfv-probe", *arguments]
    try:
        main()
    finally:
        sys.argv = before


@contextmanager
def captured() -> Iterator[IO[bytes]]:
    """Take what the block writes to stdout and stderr, in Python or below; yields the file of stderr."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        streams, files = (sys.stdout, sys.stderr), (os.dup(1), os.dup(2))
        for stream in streams:
            stream.flush()
        os.dup2(output.fileno(), 1)
        os.dup2(errors.fileno(), 2)
        sys.stdout, sys.stderr = (TextIOWrapper(os.fdopen(os.dup(n), "wb"), encoding="utf-8") for n in (1, 2))
        try:
            yield errors
        finally:
            for stream in (sys.stdout, sys.stderr, *streams):
                stream.flush()
            sys.stdout.close()
            sys.stderr.close()
            sys.stdout, sys.stderr = streams
            for number, copy in zip((1, 2), files, strict=True):
                os.dup2(copy, number)
                os.close(copy)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `NoEnd` in the block when it has used so much CPU time."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise NoEnd

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def limit_memory(extra: int = MEMORY) -> None:
    """Let this process have so many more bytes than it has now."""
    status = Path("/proc/self/status")
    if not status.exists():  # no Linux
        return
    has = next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmData:")) << 10
    resource.setrlimit(resource.RLIMIT_DATA, (has + extra, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def save(fault: Fault, folder: Path, failures: Path) -> Path:
    """Keep the damaged files of a fault, with what was said; returns their folder."""
    place = failures / f"{fault.case.target.name}-{fault.case.index}"
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder, place, symlinks=True)
    (place / fault.case.target.file).write_bytes(damage(fault.case, folder))
    (place / "fault.txt").write_text(f"{fault.kind}\n{fault.case.again}\n{fault.details}", errors="replace")
    return place
