"""DecodeState: a forward call with text only, after a prefill in the same cache."""

from typing import Any

import torch
from transformers import Cache

from halfv_core.families.base import Parts
from halfv_core.runtime.cache_state import CacheState
from halfv_core.runtime.cached_tokens import CachedTokens
from halfv_core.runtime.masks import decode_mask, decode_padding_mask, held_entries
from halfv_core.runtime.renumbering import rotary_tables
from halfv_core.runtime.static_cache import is_static, length_of, over_whole_length


class DecodeState:
    """New text tokens on their way through the decoder: none is pruned, but some layers have fewer keys for them."""

    def __init__(self, parts: Parts, cache_state: CacheState, past: int, new: int) -> None:
        """Begin the forward call.

        Args:
            parts: of the model.
            cache_state: what the cache holds.
            past: tokens of the sequence before the new ones.
            new: number of new tokens.

        Raises:
            UnsupportedError: see `CacheState.check_sequence`.
        """
        cache_state.check_sequence(past, past + new, is_prefill=False)
        self._cache_state = cache_state
        self._past = past
        self._length = past + new
        self._padding_mask = parts.flash
        self._parts = parts
        self._masks: dict[tuple[Any, ...], tuple[torch.Tensor, torch.Tensor | None, CachedTokens | None]] = {}
        self._tables: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # by id of what the layer's cache holds

    def layer_arguments(self, index: int, hidden: torch.Tensor, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The keyword arguments of the call of layer `index`, with a mask that fits the layer's cache.

        Args:
            index: of the layer.
            hidden: its input.
            kwargs: the arguments that the model made.
        """
        cached, mask = self._cache_state.cached(index), kwargs.get("attention_mask")
        if cached is not None and cached.shift is not None:
            kwargs = kwargs | {"position_embeddings": self._moved(cached, kwargs)}
        cache = kwargs.get("past_key_values")
        held = held_entries(cache, index)
        if not self._cache_state.is_pruned or index in self._parts.recurrent or (cached is None and held is None):
            return kwargs
        if mask is None and (cached is None or not cached.has_padding) and not is_static(cache):
            return kwargs  # a single new token sees everything, or the kernel is causal
        if self._padding_mask and cached is not None:
            return dict(kwargs, attention_mask=decode_padding_mask(mask, cached, self._length, hidden.device))
        return dict(kwargs, attention_mask=self._fitting(index, mask, cache, hidden))

    def masks(self, mask: torch.Tensor | None, cache: Cache, like: torch.Tensor) -> list[torch.Tensor | None]:
        """For each layer, the mask that fits its cache; None where the model's own does.

        Args:
            mask: the model's own, of layers that see all tokens.
            cache: the batch's cache, static.
            like: a tensor on the layers' device.
        """
        held = [self._cache_state.cached(index) for index in range(len(self._parts.layers))]
        return [None if one is None else self._fitting(index, mask, cache, like) for index, one in enumerate(held)]

    def _fitting(self, index: int, mask: torch.Tensor | None, cache: Cache | None, like: torch.Tensor) -> torch.Tensor:
        """The mask for what the cache of layer `index` holds, on the device of `like`, made from the model's own."""
        cached, held = self._cache_state.cached(index), held_entries(cache, index)
        key = id(mask), id(cached), held, length_of(cache, index), like.device
        if key not in self._masks:  # with both objects, so that their ids are not given to others
            fitting = decode_mask(mask, cached, self._past, self._length, like, held)
            self._masks[key] = over_whole_length(fitting, cache, index), mask, cached
        return self._masks[key][0]

    def _moved(self, cached: CachedTokens, kwargs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Rotary tables of the new tokens in layers that count positions anew."""
        if id(cached) not in self._tables:
            positions, like = kwargs["position_ids"], kwargs["position_embeddings"][0]
            indices = torch.arange(positions.shape[1], device=like.device).expand(len(cached.positions), -1)
            self._tables[id(cached)] = rotary_tables(self._parts, positions, indices, None, cached, like)
        return self._tables[id(cached)]
