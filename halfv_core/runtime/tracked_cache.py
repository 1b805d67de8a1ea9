"""TrackedCache: a KV cache that carries what a plan left in it, through copies and changes of its rows.

A cache that was filled under a plan may hold fewer tokens in deeper layers, and other ones in each row. What it holds
is therefore kept on the cache itself, where `copy.deepcopy` finds it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from transformers import Cache, DynamicCache, StaticCache

from halfv_core.errors import UnsupportedError
from halfv_core.families.base import Parts
from halfv_core.runtime.cache_state import CacheState
from halfv_core.runtime.static_cache import is_static


class Tracked(Cache):
    """A cache that was filled under a plan; mixed into transformers' classes."""

    plan_state: CacheState | None = None
    """What the cache holds; None while it is empty."""
    in_layer = False
    """Whether a decoder layer that runs under a plan is using the cache right now."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add keys and values of a layer, as the cache's class does.

        Raises:
            UnsupportedError: the cache was pruned, and the model that uses it does not run under a plan.
        """
        if self.plan_state is not None and self.plan_state.is_pruned and not self.in_layer:
            raise UnsupportedError(
                "this KV cache was pruned under a plan and cannot be used without it",
                remedy="use it inside `with apply(model, plan)` of the same plan, or start a new cache",
            )
        return super().update(key_states, value_states, layer_idx, *args, **kwargs)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Number of tokens in the sequence, by which new ones get their positions; not all of them may be cached.

        Args:
            layer_idx: of a layer other than the first, the number of its entries is returned.
        """
        entries = super().get_seq_length(layer_idx)
        if layer_idx or self.plan_state is None:
            return entries
        return self.plan_state.sequence_length(entries)

    def reset(self) -> None:
        """Empty the cache."""
        super().reset()  # type: ignore[no-untyped-call]
        self.plan_state = None

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Replace the rows by the rows `beam_idx`, (B,)."""
        super().reorder_cache(beam_idx)
        self._select_rows(beam_idx)

    def _select_rows(self, indices: torch.Tensor) -> None:
        if self.plan_state is not None:
            indices = indices.cpu() if isinstance(indices, torch.Tensor) else indices
            self.plan_state.select_rows(torch.arange(self.plan_state.rows)[indices])


class TrackedCache(Tracked, DynamicCache):
    """A DynamicCache that was filled under a plan; `track` makes one of a DynamicCache."""

    def get_mask_sizes(self, query_length: int, layer_idx: int) -> tuple[int, int]:
        """Number of keys, and position of the first, that a mask for `query_length` new tokens is made for.

        It is made for the whole sequence, and the runtime takes from it what the layer's cache holds.
        """
        if self.plan_state is None or not self.plan_state.is_pruned:
            return super().get_mask_sizes(query_length, layer_idx)
        return self.get_seq_length() + query_length, 0

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Position of the first new token in the sequence, for masks; see `get_mask_sizes`."""
        if self.plan_state is None or not self.plan_state.is_pruned:
            return super().get_query_offset(layer_idx)
        return self.get_seq_length()

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the latest `-tokens_to_remove` tokens."""
        super().crop(tokens_to_remove)
        if self.get_seq_length() == 0:
            self.plan_state = None

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row `repeats` times."""
        super().batch_repeat_interleave(repeats)
        if self.plan_state is not None:
            self.plan_state.select_rows(torch.arange(self.plan_state.rows).repeat_interleave(repeats))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the rows that `indices` names, by number or as a mask."""
        super().batch_select_indices(indices)
        self._select_rows(indices)


class TrackedStaticCache(Tracked, StaticCache):
    """A StaticCache that was filled under a plan; `track` makes one of a StaticCache."""

    def get_query_offset(self, layer_idx: int = 0) -> int:
        """Position of the first new token in the sequence, for masks, which are made for the whole sequence."""
        return self.get_seq_length()


def track(cache: Cache, state: CacheState) -> None:
    """Let a cache carry its state, in a class that knows of it. Caches of other kinds take text only, unpruned."""
    if type(cache) is DynamicCache:
        cache.__class__ = TrackedCache
    elif type(cache) is StaticCache and is_static(cache):
        cache.__class__ = TrackedStaticCache
    cast(Tracked, cache).plan_state = state


def state_of(cache: Cache) -> CacheState | None:
    """What a cache holds, if it was filled under a plan."""
    return getattr(cache, "plan_state", None)


@contextmanager
def under_plan(cache: Cache | None) -> Iterator[None]:
    """Inside the block, a decoder layer uses the cache under the plan that it belongs to."""
    if not isinstance(cache, Tracked):
        yield
        return
    cache.in_layer = True
    try:
        yield
    finally:
        cache.in_layer = False


def check_cache_type(cache: Cache | None, past: int, parts: Parts) -> None:
    """Refuse a cache that cannot take a prompt with images under a plan.

    Args:
        cache: the batch's cache, if it has one.
        past: tokens of the sequence before the prompt.
        parts: of the model.

    Raises:
        UnsupportedError: it is neither a DynamicCache nor an empty StaticCache on its device, or the latter is used
            with FlashAttention or for layers with a running state.
    """
    if cache is None or type(cache) in (DynamicCache, TrackedCache):
        return
    if type(cache) not in (StaticCache, TrackedStaticCache) or not is_static(cache):
        raise UnsupportedError(
            "this cache cannot hold a different length for each layer",
            got=type(cache).__name__,
            expected="DynamicCache, or StaticCache of a newer transformers",
        )
    reasons = {
        "FlashAttention": parts.flash,
        "layers with a running state": bool(parts.recurrent),
        "offloaded layers": cache.offloading,
        f"{past} tokens in it": past > 0,
    }
    if found := [reason for reason, holds in reasons.items() if holds]:
        raise UnsupportedError(
            "this StaticCache cannot take a prompt with images under a plan",
            got=" and ".join(found),
            expected="an empty one in memory, with eager or sdpa attention",
            remedy="use a DynamicCache",
        )
