"""Wrap methods of modules or change their kernel, and put back what was there; the only file that touches modules."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from torch import nn

from halfv_core.errors import UnsupportedError

Forward = Callable[..., Any]


class Wrap(NamedTuple):
    """One method to wrap."""

    module: nn.Module
    method: str
    around: Callable[[Forward], Forward]
    """From the module's own method to the one that is called in its place."""


_MARK = "_halfv_wrapped"


@contextmanager
def wrapped(wraps: Sequence[Wrap], *, plan: bool = True) -> Iterator[None]:
    """Inside the block each method is wrapped; on exit, also after an exception, it is as it was.

    A method that somebody else set on the instance (accelerate does) is wrapped and put back like the class's own.

    Args:
        plan: whether this changes what the model computes; then no other wrapping may come around it.

    Raises:
        UnsupportedError: one of them is wrapped with a plan already.
    """
    for wrap in wraps:
        if hasattr(getattr(wrap.module, wrap.method), _MARK):
            raise UnsupportedError(
                "a plan is applied to this model already",
                expected="one apply() at a time on a model",
                remedy="leave the other `with apply(...)` block first, or put all interventions in one Plan",
            )
    before = [wrap.module.__dict__.get(wrap.method) for wrap in wraps]
    try:
        for wrap in wraps:
            replacement = wrap.around(getattr(wrap.module, wrap.method))
            if plan:
                setattr(replacement, _MARK, True)
            wrap.module.__dict__[wrap.method] = replacement
        yield
    finally:
        for wrap, own in zip(wraps, before, strict=True):
            if own is None:
                wrap.module.__dict__.pop(wrap.method, None)
            else:
                wrap.module.__dict__[wrap.method] = own


@contextmanager
def attending_by(attention: Any, kernel: str) -> Iterator[None]:
    """Inside the block the attention module, and all that share its config, compute by another kernel."""
    config = attention.config
    before, config._attn_implementation = config._attn_implementation, kernel
    try:
        yield
    finally:
        config._attn_implementation = before
