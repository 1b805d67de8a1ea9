"""Journals of work that several processes share: each one writes its own, and all of them are read to go on.

    profile.json.unfinished          the first process, or the only one
    profile.json.unfinished.rank1    another one, on its own machine

A run resumes with any number of processes, on a file system that they share or on those of each machine.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydantic import JsonValue

from halfv_core.ranks import ALONE as ONE_MODEL
from halfv_core.ranks import Ranks
from probe.common.data_parallel import ALONE, DataParallel
from probe.common.journal import Journal, left_records


@contextmanager
def opened(
    path: Path | None, key: Mapping[str, JsonValue], ranks: Ranks = ONE_MODEL, data_parallel: DataParallel = ALONE
) -> Iterator[Journal | None]:
    """The journal of this process, with the records of all processes in the first one; None without a path.

    Args:
        path: of the first process's journal.
        key: everything that the records depend on; the first process's counts.
        ranks: the processes that run one model together.
        data_parallel: the processes that share the work, all of which call this.

    Raises:
        HalfVError: one of the files belongs to other work, is in use by another run, is damaged, or is not a journal.
        OSError: one of them cannot be read or written.
    """
    if path is None:
        yield None
        return
    key = data_parallel.tell(dict(key))
    own = path if data_parallel.is_first else _of_rank(path, data_parallel.rank)
    with Journal.open(own, key, ranks) as journal:
        data_parallel.tell(data_parallel.collect(None))  # each process has locked its file
        records = list(journal.records)
        if ranks.is_first and data_parallel.local_rank == 0:
            for other in sorted({path, *_of_ranks(path)} - {own}):
                records += left_records(other, key)
        journal.records = [record for some in data_parallel.collect(ranks.agreed_value(records)) for record in some]
        data_parallel.tell()  # nobody writes, or is done, before all have read
        yield journal


def discard(path: Path) -> None:
    """Delete all journals of the work on this machine, once the result has been written."""
    for each in (path, *_of_ranks(path)):
        each.unlink(missing_ok=True)


def _of_rank(path: Path, rank: int) -> Path:
    return path.with_name(f"{path.name}.rank{rank}")


def _of_ranks(path: Path) -> list[Path]:
    start = f"{path.name}.rank"
    if not path.parent.is_dir():
        return []
    return [each for each in path.parent.iterdir() if each.name.startswith(start) and each.name[len(start) :].isdigit()]
