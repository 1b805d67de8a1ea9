"""Results of single steps by name, kept in a journal, so that an interrupted run does not repeat finished work."""

from collections.abc import Callable
from typing import Any

from halfv_core.ranks import ALONE, Ranks
from probe.common.journal import Journal


class ResultCache:
    """`cache(name, compute)` returns the result that an earlier run stored under this name, or computes and stores it.

    Names are unique within a run. Without a journal nothing is stored, and everything is computed. If several processes
    run a model together, all of them compute, and the first one's result counts, so that they decide alike.

    Raises:
        HalfVError: the journal has a record that no result cache wrote.
    """

    def __init__(self, journal: Journal | None = None, ranks: Ranks = ALONE) -> None:
        self._journal = journal
        self._ranks = ranks
        self._stored = {} if journal is None else _by_name(journal)
        self.hits = 0
        """Number of results taken from an earlier run."""

    def __contains__(self, name: str) -> bool:
        """Whether there is a result under this name."""
        return name in self._stored

    def __call__(self, name: str, compute: Callable[[], Any]) -> Any:
        """The result stored under this name, a JSON value; computed and stored if there is none yet."""
        if name in self._stored:
            return self.stored(name)
        value = self.computed(compute)
        if self._journal is not None:
            self._journal.add({"name": name, "value": value})
        return value

    def stored(self, name: str) -> Any:
        """The result of an earlier run, which there must be."""
        self.hits += 1
        return self._stored[name]

    def computed(self, compute: Callable[[], Any]) -> Any:
        """A result that is not stored."""
        return self._ranks.agreed_value(compute())


def _by_name(journal: Journal) -> dict[str, Any]:
    stored = {}
    for record in journal.records:
        name = record.get("name")
        if not isinstance(name, str) or "value" not in record:
            raise journal.damaged("a record without name or value")
        stored[name] = record["value"]
    return stored
