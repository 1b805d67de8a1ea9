"""What the two sub-layers of each decoder layer, attention and MLP, do to each token.

With x the residual stream before a sub-layer, b what the sub-layer gets, after its norm, and f what is added to x.
Where a layer has a norm behind the sub-layer, too, as in Gemma 3, f is what that norm returns.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import torch
from torch import nn

from halfv_core.families import Parts
from halfv_core.precision import widened
from halfv_core.runtime.patching import Forward, Wrap

Note = Callable[[int, int, torch.Tensor, torch.Tensor, torch.Tensor], None]
"""Gets the layer, the sub-layer (0 attention, 1 MLP), and x, b and f, (1, N, D) each."""


class SubLayers(NamedTuple):
    """Of each layer, sub-layer (attention, MLP) and token: (L, 2, N) float32 on the CPU."""

    stream: torch.Tensor
    """|x|."""
    before: torch.Tensor
    """|b|."""
    after: torch.Tensor
    """|f|."""
    cosine: torch.Tensor
    """cos(b, f); 0 where one of them is 0."""


class SubLayerRecorder:
    """Records the sub-layers while a model runs one prompt; it keeps four numbers a token and sub-layer."""

    def __init__(self, parts: Parts) -> None:
        """Prepare to record."""
        self._parts = parts
        self._noted: dict[tuple[int, int], torch.Tensor] = {}

    def wraps(self) -> list[Wrap]:
        """The methods to wrap while the model runs."""
        return sublayer_wraps(self._parts, self._note)

    def _note(self, layer: int, sublayer: int, x: torch.Tensor, b: torch.Tensor, f: torch.Tensor) -> None:
        states = [widened(part.detach()[0]) for part in (x, b, f)]
        lengths = [torch.linalg.vector_norm(state, dim=-1) for state in states]
        cosine = torch.cosine_similarity(states[1], states[2], dim=-1)
        self._noted[layer, sublayer] = torch.stack([*lengths, cosine])

    def result(self) -> SubLayers:
        """What was recorded."""
        by_layer = [[self._noted[layer, part].cpu() for part in (0, 1)] for layer in range(len(self._parts.layers))]
        return SubLayers(*torch.stack([torch.stack(both) for both in by_layer]).movedim(2, 0))


def sublayer_wraps(parts: Parts, note: Note) -> list[Wrap]:
    """Methods to wrap so that each sub-layer of each layer is noted, in the order in which they run."""
    parts.check_plain("what attention and MLP add to each token")
    found = []
    for index, layer in enumerate(parts.layers):
        for sublayer, (norm, last) in enumerate(_ends(layer)):
            watch = _Watch(lambda *states, at=(index, sublayer): note(*at, *states))
            found += [Wrap(norm, "forward", watch.around_norm), Wrap(last, "forward", watch.around_last)]
    return found


def _ends(layer: Any) -> list[tuple[nn.Module, nn.Module]]:
    """Of attention and MLP: the norm before it, which gets the residual stream, and the module whose output is added
    to that."""
    if hasattr(layer, "pre_feedforward_layernorm"):
        return [
            (layer.input_layernorm, layer.post_attention_layernorm),
            (layer.pre_feedforward_layernorm, layer.post_feedforward_layernorm),
        ]
    return [(layer.input_layernorm, layer.self_attn), (layer.post_attention_layernorm, layer.mlp)]


class _Watch:
    """One sub-layer of one layer."""

    def __init__(self, note: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], None]) -> None:
        self._note = note
        self._begun: tuple[torch.Tensor, torch.Tensor] | None = None

    def around_norm(self, forward: Forward) -> Forward:
        @wraps(forward)
        def run(states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
            output = forward(states, *args, **kwargs)
            # Whoever looks at a layer's queries calls its norm as well, but before the layer itself does.
            self._begun = states, output
            return output

        return run

    def around_last(self, forward: Forward) -> Forward:
        @wraps(forward)
        def run(*args: Any, **kwargs: Any) -> Any:
            output = forward(*args, **kwargs)
            assert self._begun is not None, "the norm before a sub-layer runs first"
            (stream, before), self._begun = self._begun, None
            self._note(stream, before, output[0] if isinstance(output, tuple) else output)
            return output

        return run
