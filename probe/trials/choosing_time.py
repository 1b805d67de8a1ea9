"""How long a plan takes to choose visual tokens and to drop the others, in a run under it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from halfv_core.runtime.prefill_state import PrefillState
from probe.common.stopwatch import Stopwatch

_CHOOSING = ("_prune", "_freeze", "_hide")
"""The methods in which a prefill chooses tokens, before each layer."""


@contextmanager
def timed_choosing(watch: Stopwatch) -> Iterator[None]:
    """Add the time that is spent choosing and dropping tokens inside the block to a stopwatch.

    On an accelerator this waits for the device before and after each choice, which slows the prefill a little.
    """
    with ExitStack() as patches:
        for name in _CHOOSING:
            patches.enter_context(patch.object(PrefillState, name, watch.around(getattr(PrefillState, name))))
        yield
