"""TrackedCache: a KV cache that carries what a plan left in it, through copies and changes of its rows.

A cache that was filled under a plan may hold fewer tokens in deeper layers, and other ones in each row. What it holds
is therefore kept on the cache itself, where `copy.deepcopy` finds it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from transformers import Cache, DynamicCache

from halfv_core.errors import UnsupportedError
from halfv_core.runtime.cache_state import CacheState


class TrackedCache(DynamicCache):
    """A DynamicCache that was filled under a plan; `track` makes one of a DynamicCache."""

    plan_state: CacheState | None = None
    """What the cache holds; None while it is empty."""
    in_layer = False
    """Whether a decoder layer that runs under a plan is using the cache right now."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Add keys and values of a layer, as `DynamicCache.update` does.

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

    def reset(self) -> None:
        """Empty the cache."""
        super().reset()  # type: ignore[no-untyped-call]
        self.plan_state = None

    def crop(self, tokens_to_remove: int) -> None:
        """Remove the latest `-tokens_to_remove` tokens."""
        super().crop(tokens_to_remove)
        if self.get_seq_length() == 0:
            self.plan_state = None

    def reorder_cache(self, beam_idx: torch.LongTensor) -> None:
        """Replace the rows by the rows `beam_idx`, (B,)."""
        super().reorder_cache(beam_idx)
        self._select_rows(beam_idx)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row `repeats` times."""
        super().batch_repeat_interleave(repeats)
        if self.plan_state is not None:
            self.plan_state.select_rows(torch.arange(self.plan_state.rows).repeat_interleave(repeats))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep the rows that `indices` names, by number or as a mask."""
        super().batch_select_indices(indices)
        self._select_rows(indices)

    def _select_rows(self, indices: torch.Tensor) -> None:
        if self.plan_state is not None:
            indices = indices.cpu() if isinstance(indices, torch.Tensor) else indices
            self.plan_state.select_rows(torch.arange(self.plan_state.rows)[indices])


def track(cache: Cache, state: CacheState) -> None:
    """Let a cache carry its state; a DynamicCache becomes a TrackedCache. Others take text only, and are not pruned."""
    if type(cache) is DynamicCache:
        cache.__class__ = TrackedCache
    cast(TrackedCache, cache).plan_state = state


def state_of(cache: Cache) -> CacheState | None:
    """What a cache holds, if it was filled under a plan."""
    return getattr(cache, "plan_state", None)


@contextmanager
def under_plan(cache: Cache | None) -> Iterator[None]:
    """Inside the block, a decoder layer uses the cache under the plan that it belongs to."""
    if not isinstance(cache, TrackedCache):
        yield
        return
    cache.in_layer = True
    try:
        yield
    finally:
        cache.in_layer = False


def check_cache_type(cache: Cache | None) -> None:
    """Refuse a cache that cannot hold a different number of tokens in each layer.

    Raises:
        UnsupportedError: the cache is not a DynamicCache.
    """
    if cache is not None and type(cache) not in (DynamicCache, TrackedCache):
        raise UnsupportedError(
            "this cache cannot hold a different length for each layer",
            got=type(cache).__name__,
            expected="DynamicCache",
        )
