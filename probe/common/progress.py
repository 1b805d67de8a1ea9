"""Progress as a callback, so that measuring knows nothing of bars."""

from collections.abc import Callable
from itertools import count

OnProgress = Callable[[str, int, int], None]
"""Called with the name of the step, how many are done, and of how many."""


def counter(report: OnProgress, step: str, total: int) -> Callable[[], None]:
    """A callback for each of `total` items that tells `report` how many are done."""
    report(step, 0, total)
    done = count(1)
    return lambda: report(step, next(done), total)
