"""What a model of 16 bits would compute in float32, without a float32 copy: weights are widened while they are used."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from itertools import chain
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from halfv_core.families import Family, parts_of
from halfv_core.runtime.patching import Forward, Wrap, wrapped
from probe.capture.limits import MLP_SLICE

HALF = (torch.float16, torch.bfloat16)


def can_be_widened(model: PreTrainedModel, family: Family | None = None) -> bool:
    """Whether the decoder's layers have 16-bit weights, all of them in memory, neither quantised nor sharded."""
    weights = list(chain.from_iterable(layer.parameters() for layer in parts_of(model, family).layers))
    plain = all(type(weight) is nn.Parameter and weight.is_floating_point() for weight in weights)
    return plain and all(not weight.is_meta for weight in weights) and any(weight.dtype in HALF for weight in weights)


@contextmanager
def decoder_in_float32(model: PreTrainedModel, *, family: Family | None = None) -> Iterator[None]:
    """Inside the block, the decoder runs prefills in float32, on the embeddings that the model makes in its own dtype.

    A layer's weights are widened from their 16 bits when it is entered and put back when the next one is, except for
    the matrices of its MLP, which are most of it: they are widened one at a time, and take the tokens in slices. So the
    memory of one matrix in float32 is enough. Plans that prune are applied inside the block; they find the attention of
    the layer before theirs still widened. Plans that freeze need the layer itself, and cannot be.

    Args:
        model: for which `can_be_widened` holds.
    """
    parts, layer_weights = parts_of(model, family), _WidenedWeights()

    def around_layer(layer: Any, forward: Forward) -> Forward:
        of_mlp = {id(weight) for part in _parts(layer.mlp) for weight in part.parameters()}

        @wraps(forward)
        def run(*args: Any, **kwargs: Any) -> Any:
            layer_weights.put_back()
            tensors = chain(layer.parameters(), layer.buffers())
            layer_weights.widen(tensor for tensor in tensors if id(tensor) not in of_mlp)
            return forward(*args, **kwargs)

        return run

    def around_decoder(forward: Forward) -> Forward:
        @wraps(forward)
        def run(*args: Any, **kwargs: Any) -> Any:
            output = forward(*_widened(args), **_widened(kwargs))
            output.last_hidden_state = output.last_hidden_state.to(model.dtype)  # as the head expects it
            return output

        return run

    recording = [Wrap(parts.decoder, "forward", around_decoder)]
    for layer in parts.layers:
        recording += [Wrap(layer, "forward", partial(around_layer, layer)), Wrap(layer.mlp, "forward", _in_slices)]
        recording += [Wrap(part, "forward", partial(_while_it_runs, part)) for part in _parts(layer.mlp)]
    try:
        with wrapped(recording, plan=False):
            yield
    finally:
        layer_weights.put_back()


def _parts(mlp: nn.Module) -> list[nn.Module]:
    """The modules that an MLP calls: its matrices, each with its adapters, or its experts."""
    found: list[nn.Module] = []
    for child in mlp.children():
        found += _parts(child) if isinstance(child, nn.ModuleList | nn.ModuleDict) else [child]
    return found


class _WidenedWeights:
    """Weights in float32, and what they were before."""

    def __init__(self) -> None:
        self._narrow: list[tuple[torch.Tensor, torch.Tensor]] = []

    def widen(self, tensors: Iterable[torch.Tensor]) -> None:
        for tensor in tensors:
            if tensor.dtype in HALF:
                self._narrow.append((tensor, tensor.data))
                tensor.data = tensor.data.float()

    def put_back(self) -> None:
        while self._narrow:
            tensor, data = self._narrow.pop()
            tensor.data = data


def _while_it_runs(module: nn.Module, forward: Forward) -> Forward:
    """A module whose weights are widened in each call."""

    @wraps(forward)
    def run(*args: Any, **kwargs: Any) -> Any:
        weights = _WidenedWeights()
        try:
            weights.widen(module.parameters())
            return forward(*args, **kwargs)
        finally:
            weights.put_back()

    return run


def _in_slices(forward: Forward) -> Forward:
    """An MLP that takes (1, N, D) states some tokens at a time."""

    @wraps(forward)
    def run(hidden: torch.Tensor) -> Any:
        return torch.cat([forward(some) for some in hidden.split(MLP_SLICE, dim=1)], dim=1)

    return run


def _widened(value: Any) -> Any:
    """An argument with all 16-bit tensors in it widened."""
    if isinstance(value, dict):
        return {name: _widened(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(_widened, value))
    return value.float() if isinstance(value, torch.Tensor) and value.dtype in HALF else value
