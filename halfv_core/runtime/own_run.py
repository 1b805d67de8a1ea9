"""Queries, keys and values of any family, as its layers themselves make them.

A layer is run on some tokens until it hands them to its cache, or to its attention kernel, and no further. What arrives
there has gone through whatever the family has before attention: norms in any place, fused or low-rank projections,
norms of heads, and rotations of all, some or none of the dimensions.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from halfv_core.errors import UnsupportedError
from halfv_core.families.base import Parts
from halfv_core.placement import parts_callable
from halfv_core.runtime.patching import attention_kernel, own_forward

_STOP = "halfv_stop"


class Heads(NamedTuple):
    """What a layer's attention kernel is given for k tokens."""

    queries: torch.Tensor
    """(B, H, k, d)."""
    keys: torch.Tensor
    """(B, H_kv, k, d)."""
    values: torch.Tensor
    """(B, H_kv, k, d_v)."""
    scaling: float
    """What products of queries and keys are multiplied by."""


class _Arrived(Exception):  # noqa: N818 - nothing is wrong
    def __init__(self, found: Any) -> None:
        super().__init__()
        self.found = found


def heads_of(parts: Parts, layer: Any, hidden: torch.Tensor, arguments: Mapping[str, Any]) -> Heads:
    """Queries, keys and values of a layer.

    Args:
        parts: of the model.
        layer: the decoder layer.
        hidden: (B, k, D), its input.
        arguments: the other arguments of its call for these tokens; mask and cache do not count.

    Raises:
        UnsupportedError: the layer does not call transformers' attention kernels.
    """
    with attention_kernel(parts.decoder, _STOP):
        found: Heads = _run(layer, hidden, arguments, None)
    return found


def cached_of(layer: Any, hidden: torch.Tensor, arguments: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """The two tensors that a layer puts into its cache, (B, heads, k, width) each, which may be compressed.

    Args:
        layer: as in `heads_of`.
        hidden: as in `heads_of`.
        arguments: as in `heads_of`.

    Raises:
        UnsupportedError: the layer caches nothing.
    """
    found: tuple[torch.Tensor, torch.Tensor] = _run(layer, hidden, arguments, _StoppingCache())
    return found


class _StoppingCache:
    def update(self, keys: torch.Tensor, values: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        raise _Arrived((keys, values))


def _run(layer: Any, hidden: torch.Tensor, arguments: Mapping[str, Any], cache: _StoppingCache | None) -> Any:
    try:
        with parts_callable(layer):
            own_forward(layer)(hidden, **{**arguments, "attention_mask": None, "past_key_values": cache})
    except _Arrived as arrived:
        return arrived.found
    raise UnsupportedError(
        f"this {type(layer).__name__} has no attention, or not by transformers' kernels and caches",
        remedy="look at other layers, or use what reads no attention (the selectors random and uniform)",
    )


def _stop(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> None:
    """Takes the place of an attention kernel."""
    raise _Arrived(Heads(query, key, value, query.shape[-1] ** -0.5 if scaling is None else scaling))


ALL_ATTENTION_FUNCTIONS.register(_STOP, _stop)
