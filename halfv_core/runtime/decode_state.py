"""DecodeState: a forward call with text only, after a prefill in the same cache."""

from typing import Any

import torch

from halfv_core.runtime.cache_state import CacheState
from halfv_core.runtime.masks import decode_mask, decode_padding_mask


class DecodeState:
    """New text tokens on their way through the decoder: none is pruned, but some layers have fewer keys for them."""

    def __init__(
        self, cache_state: CacheState, past: int, new: int, mask: torch.Tensor | None, *, padding_mask: bool
    ) -> None:
        """Begin the forward call.

        Args:
            cache_state: what the cache holds.
            past: tokens of the sequence before the new ones.
            new: number of new tokens.
            mask: layer 0's attention mask, which serves all layers (see `PrefillState`).
            padding_mask: whether the attention kernel takes padding masks only.

        Raises:
            UnsupportedError: see `CacheState.check_sequence`.
        """
        cache_state.check_sequence(past, past + new, is_prefill=False)
        self._cache_state = cache_state
        self._past = past
        self._length = past + new
        self._mask = mask
        self._padding_mask = padding_mask

    def layer_arguments(self, index: int, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The keyword arguments of the call of layer `index`, with a mask that fits the layer's cache.

        Args:
            index: of the layer.
            kwargs: the arguments that the model made.
        """
        cached, mask = self._cache_state.cached(index), self._mask
        if cached is None or (mask is None and not cached.has_padding):
            return kwargs  # without a mask, a single new token sees everything, or the kernel is causal
        like = kwargs["position_embeddings"][0]
        if self._padding_mask:
            fitting = decode_padding_mask(mask, cached, self._length, like.device)
        else:
            fitting = decode_mask(mask, cached, self._past, self._length, like)
        return dict(kwargs, attention_mask=fitting)
