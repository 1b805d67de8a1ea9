"""Progress as a callback, so that measuring code does not depend on progress bars."""

from collections.abc import Callable
from itertools import count

OnProgress = Callable[[str, int, int], None]
"""Called with the name of the step, the number of finished items and the total."""


def counter(report: OnProgress, step: str, total: int) -> Callable[[], None]:
    """A callback to call after each of `total` items; it passes the number of finished items on to `report`."""
    report(step, 0, total)
    done = count(1)
    return lambda: report(step, next(done), total)
