"""A memo: work is done once for a name, in this run or in one before."""

from pathlib import Path

import pytest

from probe.common.journal import Journal
from probe.common.result_cache import ResultCache


def never() -> None:
    raise AssertionError("this was done before")


def test_without_a_journal_all_work_is_done() -> None:
    memo = ResultCache()
    assert [memo("a", lambda: 1), memo("b", lambda: [2.5])] == [1, [2.5]]
    assert memo.recalled == 0


def test_a_later_run_does_none_of_it_again(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j", {}) as journal:
        memo = ResultCache(journal)
        found = [memo("a", lambda: [[True, 1 / 3]]), memo("b", lambda: None), memo("c", lambda: {"x": 0})]
    with Journal.open(tmp_path / "j", {}) as journal:
        memo = ResultCache(journal)
        assert [memo(name, never) for name in "abc"] == found
        assert memo("d", lambda: 4) == 4
        assert memo.recalled == 3
        assert [record["name"] for record in journal.records] == ["a", "b", "c", "d"]


def test_work_that_fails_is_not_remembered(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j", {}) as journal:
        with pytest.raises(AssertionError):
            ResultCache(journal)("a", never)
        assert journal.records == []
        assert ResultCache(journal)("a", lambda: 1) == 1
