"""ResultCache: results of single steps by name, kept in a journal, so that work which was stopped is not done again."""

from collections.abc import Callable
from typing import Any

from probe.common.journal import Journal


class ResultCache:
    """remember(name, work): what `work` gave when it first ran under this name, in this run or in one before."""

    def __init__(self, journal: Journal | None = None) -> None:
        self._journal = journal
        self._found = {record["name"]: record["value"] for record in (journal.records if journal else ())}
        self.recalled = 0
        """Results that an earlier run had left."""

    def __call__(self, name: str, work: Callable[[], Any]) -> Any:
        """The result under this name, JSON; worked out and noted where there is none yet."""
        if name in self._found:
            self.recalled += 1
            return self._found[name]
        value = work()
        if self._journal is not None:
            self._journal.add({"name": name, "value": value})
        return value
