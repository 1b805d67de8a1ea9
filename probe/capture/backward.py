"""Gradients with respect to the hidden states of a recorded run, one layer at a time.

    calls = LayerCalls.record(model, inputs)
    gradients(calls, at_end)[0]          # (1, N, D), of the same number with respect to the input of layer 0

Each layer is called again on its recorded input, so that only its own intermediate results are in memory, never those
of all layers. Weights get no gradient.
"""

from itertools import chain

import torch
from torch import nn

from halfv_core.families import Parts
from probe.capture.layer_calls import LayerCalls


def has_gradients(parts: Parts) -> bool:
    """Whether all weights on the way to the answer are plain numbers: neither quantised nor sharded."""
    modules = (*parts.layers, parts.head)
    plain = all(
        type(weight) is nn.Parameter and weight.is_floating_point()
        for weight in chain.from_iterable(module.parameters() for module in modules)
    )
    # Some quantisers keep integers in buffers, and no weight at all.
    return plain and all(
        buffer.is_floating_point() for buffer in chain.from_iterable(module.buffers() for module in modules)
    )


def gradients(calls: LayerCalls, at_end: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Gradients of a number that depends on the last layer's output.

    Args:
        calls: a run of a model that `has_gradients`.
        at_end: (1, N, D), the number's gradient with respect to the last layer's output.

    Returns:
        L+1 times (1, N, D): entry i is the gradient with respect to `calls.states[i]`. It costs a forward and a
        backward pass of each layer.
    """
    found = [at_end]
    for layer in reversed(range(calls.layers)):
        state = calls.states[layer].detach().requires_grad_()
        with torch.enable_grad():
            output = calls.parts.layers[layer](state, **calls.arguments[layer])
        found += torch.autograd.grad(output, state, found[-1].to(output))
    return tuple(reversed(found))
