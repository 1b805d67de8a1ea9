"""A result cache: what an earlier run stored under a name is not computed again."""

from pathlib import Path
from typing import Any

import pytest

from halfv_core.errors import HalfVError
from probe.common.journal import Journal
from probe.common.result_cache import ResultCache


def never() -> None:
    raise AssertionError("this was done before")


def test_without_a_journal_all_work_is_done() -> None:
    cache = ResultCache()
    assert [cache("a", lambda: 1), cache("b", lambda: [2.5])] == [1, [2.5]]
    assert cache.hits == 0


def test_a_later_run_does_none_of_it_again(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j", {}) as journal:
        cache = ResultCache(journal)
        stored = [cache("a", lambda: [[True, 1 / 3]]), cache("b", lambda: None), cache("c", lambda: {"x": 0})]
    with Journal.open(tmp_path / "j", {}) as journal:
        cache = ResultCache(journal)
        assert [cache(name, never) for name in "abc"] == stored
        assert cache("d", lambda: 4) == 4
        assert cache.hits == 3
        assert [record["name"] for record in journal.records] == ["a", "b", "c", "d"]


def test_work_that_fails_is_not_stored(tmp_path: Path) -> None:
    with Journal.open(tmp_path / "j", {}) as journal:
        with pytest.raises(AssertionError):
            ResultCache(journal)("a", never)
        assert journal.records == []
        assert ResultCache(journal)("a", lambda: 1) == 1


@pytest.mark.parametrize("record", [{}, {"name": "a"}, {"value": 1}, {"name": ["a"], "value": 1}])
def test_a_record_of_something_else_is_refused(tmp_path: Path, record: dict[str, Any]) -> None:
    with Journal.open(tmp_path / "j", {}) as journal:
        journal.add(record)
        with pytest.raises(HalfVError, match="j is damaged; got a record without name or value; .*delete it"):
            ResultCache(journal)
