"""Journals of several processes, here threads: what all of them have written is read, whoever goes on."""

from pathlib import Path
from typing import Any

import pytest

from halfv_core.errors import HalfVError
from probe.common.data_parallel import ALONE, DataParallel
from probe.common.journal import Journal
from probe.common.journals import discard, opened
from tests.unit.probe.common.test_data_parallel import together

KEY = {"model": "m", "seed": 0}


def run(path: Path, ranks: int, note: str) -> list[Any]:
    """Each process notes something; the records with which the first one began, or the error."""

    def work(team: DataParallel) -> list[str]:
        with opened(path, KEY, data_parallel=team) as journal:
            assert journal is not None
            found = [str(record["name"]) for record in journal.records]
            journal.add({"name": f"{note}{team.rank}"})
            return sorted(set(found))  # each machine reads the journals that nobody has open

    return together(ranks, work) if ranks > 1 else [work(ALONE)]


def test_any_number_of_processes_goes_on_from_what_any_number_has_written(tmp_path: Path) -> None:
    path = tmp_path / "p.json.unfinished"
    assert run(path, 3, "a") == [[], [], []]
    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "p.json.unfinished", "p.json.unfinished.rank1", "p.json.unfinished.rank2"
    ]  # fmt: skip
    assert run(path, 1, "b")[0] == ["a0", "a1", "a2"]
    assert run(path, 2, "c")[0] == ["a0", "a1", "a2", "b0"]
    assert run(path, 4, "d")[0] == ["a0", "a1", "a2", "b0", "c0", "c1"]


def test_a_line_that_was_cut_off_is_dropped_from_every_journal(tmp_path: Path) -> None:
    run(tmp_path / "j", 2, "a")
    for path in tmp_path.iterdir():
        with path.open("ab") as stream:
            stream.write(b'{"name": "half')
    assert run(tmp_path / "j", 1, "b")[0] == ["a0", "a1"]


@pytest.mark.parametrize(("ranks", "place"), [(1, "j.rank3"), (2, "j.rank1"), (2, "j.rank5"), (2, "j")])
def test_a_journal_of_other_work_is_refused_wherever_it_lies(ranks: int, place: str, tmp_path: Path) -> None:
    with Journal.open(tmp_path / place, KEY | {"seed": 1}):
        pass

    def work(team: DataParallel) -> None:
        with opened(tmp_path / "j", KEY, data_parallel=team):
            pass

    if ranks == 1:
        with pytest.raises(HalfVError, match=f"{place} holds unfinished work with another seed"):
            work(ALONE)
    else:
        assert all(f"{place} holds unfinished work with another seed" in str(one) for one in together(2, work))


def test_a_run_that_is_at_work_is_not_read_and_not_joined(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j.rank1", KEY) as journal:
        journal.add({"name": "a1"})
        assert run(tmp_path / "j", 1, "b") == [[]]
        assert all("j.rank1 is in use by another run" in str(one) for one in run(tmp_path / "j", 2, "c"))


def test_without_a_path_there_is_no_journal() -> None:
    with opened(None, KEY) as journal:
        assert journal is None


def test_all_of_them_are_deleted_and_nothing_else(tmp_path: Path) -> None:
    others = ["j.tuning", "j.rank", "j.rank1.html", "k.rank1"]
    for name in ["j", "j.rank1", "j.rank12", *others]:
        (tmp_path / name).touch()
    discard(tmp_path / "j")
    discard(tmp_path / "none" / "j")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
