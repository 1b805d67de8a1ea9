"""One layer with visual tokens frozen: only the other tokens go through it, these are keys and values.

This is ShortV's rule (arXiv 2504.00502): the layer does not update visual tokens, so its queries, output projection and
MLP run for text tokens only.
Vision features that a model adds to visual tokens after a layer (`Family.deepstack`) are not part of the layer's
update, and are added to frozen tokens as well.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from transformers import Cache

from halfv_core.families.base import Parts
from halfv_core.placement import parts_callable
from halfv_core.runtime.attention import keys_and_values
from halfv_core.runtime.frozen_split import FrozenSplit
from halfv_core.runtime.layer_input import LayerInput
from halfv_core.runtime.own_run import cached_of
from halfv_core.runtime.patching import attention_kernel, own_checkpointing_off
from halfv_core.runtime.token_slots import gather_tokens


class FrozenTokensCache:
    """Takes the place of the cache in one layer call, and merges frozen keys and values with those of the text."""

    def __init__(self, cache: Cache | None, split: FrozenSplit, frozen: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Prepare the merge.

        Args:
            cache: the batch's cache, None if it has none.
            split: which slots hold the tokens that go through the layer, and which the others.
            frozen: keys and values of the others, (B, kv_heads, n - t, head_dim) each.
        """
        self._cache = cache
        self._order = split.order
        self._frozen = frozen

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer_index: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Store the keys and values of all n tokens in the prompt's order, as `Cache.update` would.

        Args:
            keys: (B, kv_heads, t, head_dim) of the tokens that go through the layer.
            values: likewise.
            layer_index: of the layer.
            args: further arguments for the cache.
            kwargs: further arguments for the cache.

        Returns:
            Keys and values of all tokens in the layer's cache, (B, kv_heads, m, head_dim) each.
        """
        frozen_keys, frozen_values = self._frozen
        keys, values = self._merge(keys, frozen_keys), self._merge(values, frozen_values)
        if self._cache is None:
            return keys, values
        return self._cache.update(keys, values, layer_index, *args, **kwargs)

    def _merge(self, active: torch.Tensor, frozen: torch.Tensor) -> torch.Tensor:
        """(B, kv_heads, t, head_dim) and (B, kv_heads, n - t, head_dim) -> all n tokens in the order of the slots."""
        together, order = torch.cat([active, frozen], 2), self._order
        if len(order) == 1:
            return together.index_select(2, order[0])
        return together.gather(2, order[:, None, :, None].expand_as(together))


def run_frozen_layer(
    parts: Parts, index: int, forward: Callable[..., torch.Tensor], layer_input: LayerInput
) -> torch.Tensor:
    """Run a decoder layer on those tokens of its input that are not frozen.

    Args:
        parts: of the model.
        index: of the layer.
        forward: the layer's own forward.
        layer_input: n tokens in each of B rows; its arguments have the real cache, or None.

    Returns:
        (B, n, D): frozen tokens unchanged, the others updated.
    """
    layer = parts.layers[index]
    if not (layer.training and getattr(layer, "gradient_checkpointing", False)):
        return _run_in_kernel(parts, index, forward, layer_input)
    # The layer's own checkpointing would drop FrozenTokensCache as if it were a cache, so it is done out here. A real
    # cache is dropped as there: recomputation would fill it a second time.
    arguments = dict(layer_input.arguments, past_key_values=None)

    def run(hidden: torch.Tensor) -> torch.Tensor:
        with own_checkpointing_off(layer):
            return _run_in_kernel(parts, index, forward, replace(layer_input, hidden=hidden, arguments=arguments))

    return layer._gradient_checkpointing_func(run, layer_input.hidden)  # type: ignore[no-any-return]


def _run_in_kernel(
    parts: Parts, index: int, forward: Callable[..., torch.Tensor], layer_input: LayerInput
) -> torch.Tensor:
    if parts.flash:  # cannot take a mask of queries by keys; the queries are few, so sdpa does as well
        with attention_kernel(parts.decoder, "sdpa"):
            return _run(parts, index, forward, layer_input)
    return _run(parts, index, forward, layer_input)


def _run(parts: Parts, index: int, forward: Callable[..., torch.Tensor], layer_input: LayerInput) -> torch.Tensor:
    tables, hidden, kwargs = layer_input.tables, layer_input.hidden, layer_input.arguments
    # A running state takes the tokens in order; and a row without frozen tokens needs a query for every slot.
    if index in parts.recurrent or min(tables.frozen.counts) == 0:
        output = forward(hidden, **tables.arguments(kwargs))
        return torch.where(tables.frozen.mask[..., None], hidden, output)
    split, layer = tables.split, parts.layers[index]
    frozen = gather_tokens(hidden, split.frozen)  # (B, n - t, D)
    if parts.is_plain:
        with parts_callable(layer):
            frozen_states = keys_and_values(parts, layer, frozen, split.frozen_tables)
    else:
        frozen_states = cached_of(layer, frozen, tables.gather(kwargs, split.frozen_indices, split.frozen_tables))
    arguments = tables.gather(kwargs, split.indices, split.active_tables) | {
        "attention_mask": split.mask,
        "past_key_values": FrozenTokensCache(kwargs.get("past_key_values"), split, frozen_states),
    }
    active = gather_tokens(hidden, split.active)  # (B, t, D)
    updated = forward(active, **arguments)
    if split.discarded is not None:
        updated = torch.where(split.discarded, active, updated)
    return hidden.scatter(1, split.active[..., None].expand_as(updated), updated)
