"""Wrap methods of modules, change their attention kernel, checkpointing or rope deltas, and restore them.

This is the only file that modifies a model.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from inspect import signature
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from halfv_core.errors import UnsupportedError

Forward = Callable[..., Any]
T = TypeVar("T")


class Wrap(NamedTuple):
    """One method to wrap."""

    module: nn.Module
    method: str
    around: Callable[[Forward], Forward]
    """Takes the module's own method, returns the one that is called in its place."""


_MARK = "_halfv_wrapped"
_INNER = "_halfv_inner"


@contextmanager
def wrapped(wraps: Sequence[Wrap], *, plan: bool = True, over_plan: bool = False) -> Iterator[None]:
    """Wrap methods for the duration of the block, and restore them on exit, also after an exception.

    A method that was set on the instance, as accelerate does, is wrapped and restored like a method of the class.

    Args:
        wraps: the methods.
        plan: whether this changes what the model computes; if so, they must not be wrapped again inside the block.
        over_plan: whether they may be wrapped with a plan already.

    Raises:
        UnsupportedError: one of the methods is wrapped with a plan already.
    """
    for wrap in wraps:
        if hasattr(getattr(wrap.module, wrap.method), _MARK) and not over_plan:
            raise UnsupportedError(
                "a plan is applied to this model already",
                expected="one apply() at a time on a model",
                remedy="leave the other `with apply(...)` block first, or put all interventions in one Plan",
            )
    before = [wrap.module.__dict__.get(wrap.method) for wrap in wraps]
    try:
        for wrap in wraps:
            inner = getattr(wrap.module, wrap.method)
            replacement = wrap.around(inner)
            setattr(replacement, _INNER, inner)
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


def own_forward(module: Any) -> Forward:
    """A module's forward as it is outside of all `wrapped` blocks."""
    forward: Forward = module.forward
    while hasattr(forward, _INNER):
        forward = getattr(forward, _INNER)
    return forward


def by_name(forward: Forward, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a layer's call behind the hidden states, of which models pass some by place, by their names."""
    return {**dict(zip(list(signature(forward).parameters)[1:], args, strict=False)), **kwargs} if args else kwargs


@contextmanager
def instrumented(model: nn.Module, library: Callable[[nn.Module], T], modules: Sequence[nn.Module]) -> Iterator[T]:
    """Let another library set a forward of its own on modules, and undo that on exit.

    It may do so on all modules, and lose the forwards that accelerate or transformers' tensor parallelism have set
    there, without which the model fails. They are put back at once, except those of the modules that are looked at.

    Args:
        model: the model.
        library: sets the forwards when it is called with the model.
        modules: those that need the library's forwards.

    Yields:
        What the library returned.
    """
    before = [(module, dict(module.__dict__)) for module in model.modules()]
    needed = {id(module) for module in modules}

    def put_back(module: nn.Module, own: dict[str, Any]) -> None:
        if "forward" in own:
            module.__dict__["forward"] = own["forward"]

    result = library(model)
    added = [module.__dict__.keys() - own.keys() for module, own in before]
    for module, own in before:
        if id(module) not in needed:
            put_back(module, own)
    try:
        yield result
    finally:
        for (module, own), names in zip(before, added, strict=True):
            for name in names:
                module.__dict__.pop(name, None)
            put_back(module, own)


@contextmanager
def attention_kernel(module: Any, kernel: str) -> Iterator[None]:
    """Inside the block, a decoder or attention module, and all modules that share its config, use another kernel.

    Args:
        module: the module.
        kernel: a value of transformers' `attn_implementation`.
    """
    config = module.config
    before, config._attn_implementation = config._attn_implementation, kernel
    try:
        yield
    finally:
        config._attn_implementation = before


@contextmanager
def own_checkpointing_off(layer: Any) -> Iterator[None]:
    """Inside the block, a layer runs without the gradient checkpointing that is enabled on it."""
    before, layer.gradient_checkpointing = layer.gradient_checkpointing, False
    try:
        yield
    finally:
        layer.gradient_checkpointing = before


def rope_deltas(core: Any, rows: int) -> torch.Tensor | None:
    """What a core of the Qwen families remembers of its latest prompt: positions minus token indices behind it.

    Args:
        core: the module that receives token ids.
        rows: rows of the batch, B; generate() may have repeated those of the prompt.

    Returns:
        (B, 1); None for other families, and if nothing is known of this batch.
    """
    deltas: torch.Tensor | None = getattr(core, "rope_deltas", None)
    if deltas is None or rows % len(deltas):
        return None
    return deltas.repeat_interleave(rows // len(deltas), dim=0)


def set_rope_deltas(core: Any, deltas: torch.Tensor | None, rows: int) -> None:
    """Let the core continue the prompts that have these deltas, instead of those that it saw last.

    Args:
        core: the module that receives token ids.
        deltas: (B, 1); None leaves the core as it is.
        rows: rows of the input; fewer than B if generate() is yet to repeat each of them for its beams.
    """
    if deltas is not None:
        core.rope_deltas = deltas[:: max(1, len(deltas) // rows)]
