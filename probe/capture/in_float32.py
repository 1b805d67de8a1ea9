"""What a model of 16 bits would compute in float32, without a float32 copy of it: one layer at a time is widened."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial, wraps
from itertools import chain
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from halfv_core.families import Family, parts_of
from halfv_core.runtime.patching import Forward, Wrap, wrapped

HALF = (torch.float16, torch.bfloat16)


def can_be_widened(model: PreTrainedModel, family: Family | None = None) -> bool:
    """Whether the decoder's layers have 16-bit weights, all of them in memory, neither quantised nor sharded."""
    weights = list(chain.from_iterable(layer.parameters() for layer in parts_of(model, family).layers))
    plain = all(type(weight) is nn.Parameter and weight.is_floating_point() for weight in weights)
    return plain and all(not weight.is_meta for weight in weights) and any(weight.dtype in HALF for weight in weights)


@contextmanager
def decoder_in_float32(model: PreTrainedModel, *, family: Family | None = None) -> Iterator[None]:
    """Inside the block, the decoder runs prefills in float32, on the embeddings that the model makes in its own dtype.

    Weights are widened from their 16 bits when their layer is entered and put back when the next one is, so the memory
    of one float32 layer is enough. Plans that prune are applied inside the block; they find the layer before theirs
    still widened. Plans that freeze need the layer itself, and cannot be.

    Args:
        model: for which `can_be_widened` holds.
    """
    parts = parts_of(model, family)
    narrow: list[tuple[torch.Tensor, torch.Tensor]] = []

    def put_back() -> None:
        while narrow:
            weight, data = narrow.pop()
            weight.data = data

    def widen(module: nn.Module) -> None:
        for weight in chain(module.parameters(), module.buffers()):
            if weight.dtype in HALF:
                narrow.append((weight, weight.data))
                weight.data = weight.data.float()

    def around_layer(layer: nn.Module, forward: Forward) -> Forward:
        @wraps(forward)
        def run(*args: Any, **kwargs: Any) -> Any:
            put_back()
            widen(layer)
            return forward(*args, **kwargs)

        return run

    def around_decoder(forward: Forward) -> Forward:
        @wraps(forward)
        def run(*args: Any, **kwargs: Any) -> Any:
            output = forward(*_widened(args), **_widened(kwargs))
            output.last_hidden_state = output.last_hidden_state.to(model.dtype)  # as the head expects it
            return output

        return run

    layers = [Wrap(layer, "forward", partial(around_layer, layer)) for layer in parts.layers]
    try:
        with wrapped([Wrap(parts.decoder, "forward", around_decoder), *layers], plan=False):
            yield
    finally:
        put_back()


def _widened(value: Any) -> Any:
    """An argument with all 16-bit tensors in it widened."""
    if isinstance(value, dict):
        return {name: _widened(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_widened, value))
    return value.float() if isinstance(value, torch.Tensor) and value.dtype in HALF else value
