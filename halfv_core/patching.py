"""Wrap the forward of modules and put back exactly what was there; the only file that touches modules."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from halfv_core.errors import UnsupportedError

Forward = Callable[..., Any]
Wrapper = Callable[[Forward], Forward]
"""From a module's own forward to the one that is called in its place."""

_MARK = "_halfv_wrapped"


@contextmanager
def wrapped(wrappers: Sequence[tuple[nn.Module, Wrapper]]) -> Iterator[None]:
    """Inside the block each module's forward is wrapped; on exit, also after an exception, it is as it was.

    A forward that somebody else set on the instance (accelerate does) is wrapped and put back like the class's own.

    Raises:
        UnsupportedError: one of the modules is wrapped already.
    """
    for module, _ in wrappers:
        if hasattr(module.forward, _MARK):
            raise UnsupportedError(
                "a plan is applied to this model already",
                expected="one apply() at a time on a model",
                remedy="leave the other `with apply(...)` block first, or put all interventions in one Plan",
            )
    before = [module.__dict__.get("forward") for module, _ in wrappers]
    try:
        for module, wrapper in wrappers:
            replacement = wrapper(module.forward)
            setattr(replacement, _MARK, True)
            module.__dict__["forward"] = replacement
        yield
    finally:
        for (module, _), own in zip(wrappers, before, strict=True):
            if own is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = own
