"""Tables: rotary tables and masks of the tokens that are in the decoder, made once for all layers that share them."""

from typing import Any

import torch

from halfv_core.families.base import Parts
from halfv_core.runtime.cache_state import CacheState
from halfv_core.runtime.frozen_split import FrozenTokens
from halfv_core.runtime.layer_input import LayerInput, LayerTables
from halfv_core.runtime.masks import held_entries, prefill_mask, prefill_padding_mask
from halfv_core.runtime.renumbering import rotary_tables
from halfv_core.runtime.rotary_tables import RotaryTables, first_table, of_tokens, on_device
from halfv_core.runtime.token_slots import TokenSlots


class Tables:
    """Makes the tables of one prefill, and keeps those of the tokens that are in the decoder now."""

    def __init__(self, parts: Parts, cache_state: CacheState, past: int, new: int) -> None:
        """Begin the prefill.

        Args:
            parts: of the model.
            cache_state: what the cache holds before the prefill.
            past: tokens of the sequence before the new ones.
            new: tokens of the prefill.
        """
        self._parts = parts
        self._cache_state = cache_state
        self._past = past
        self._new = new
        self._is_later = any(cache_state.cached(index) is not None for index in range(len(parts.layers)))
        self._made: dict[tuple[int, ...], tuple[LayerTables, object]] = {}

    def forget(self) -> None:
        """The tokens in the decoder, or those that are frozen, are no longer the same."""
        self._made = {}

    def is_whole(self, index: int, slots: TokenSlots) -> bool:
        """Whether layer `index` sees the whole sequence, and the mask that the model has made for it fits."""
        if self._is_later and index in self._parts.sliding:
            return False  # the mask is made for more entries than are left within the window
        return slots.unpruned and self._cache_state.cached(index) is None

    def layer_input(
        self,
        index: int,
        hidden: torch.Tensor,
        slots: TokenSlots,
        frozen: FrozenTokens | None,
        kwargs: dict[str, Any],
        *,
        padding_mask: bool,
    ) -> LayerInput:
        """Add to the hidden states their tables.

        Args:
            index: of the layer.
            hidden: (B, n, D), what enters it.
            slots: their tokens.
            frozen: those that frozen layers do not update; None for all visual ones.
            kwargs: the layer call's keyword arguments, made by the model for all q tokens of the prefill.
            padding_mask: whether the mask is one of padding alone, as FlashAttention takes it.
        """
        first, mask = first_table(kwargs.get("position_embeddings")), kwargs.get("attention_mask")
        cached = self._cache_state.cached(index)
        key = (padding_mask, id(first), id(mask), id(cached), hash(hidden.device), index in self._parts.recurrent)
        if key not in self._made:
            # With the model's own tables, so that their ids are not given to others.
            self._made[key] = self._make(index, hidden, slots, frozen, kwargs, padding_mask), (first, mask, cached)
        return LayerInput(hidden, self._made[key][0], kwargs)

    def _make(
        self,
        index: int,
        hidden: torch.Tensor,
        slots: TokenSlots,
        frozen: FrozenTokens | None,
        kwargs: dict[str, Any],
        padding_mask: bool,
    ) -> LayerTables:
        """The model's tables, or the entries of them that belong to the tokens now in the decoder."""
        rotary: RotaryTables = kwargs.get("position_embeddings")
        mask, first, device = kwargs.get("attention_mask"), first_table(rotary), hidden.device
        if not self.is_whole(index, slots) or padding_mask != self._parts.flash:
            there = slots.to(device if first is None else first.device)
            full = None if mask is None else mask.to(there.positions.device)
            cached = self._cache_state.cached(index)
            if index in self._parts.recurrent:
                mask = there.real if there.has_padding else None
            elif padding_mask:
                mask = prefill_padding_mask(full, there, cached, self._past)
            else:
                held = held_entries(kwargs.get("past_key_values"), index)
                mask = prefill_mask(full, there, cached, self._past, hidden.dtype, held)
            indices = there.positions - self._past
            if first is None or (there.shift is None and (cached is None or cached.shift is None)):
                rotary = of_tokens(rotary, indices)
            else:
                rotary = rotary_tables(self._parts, kwargs["position_ids"], indices, there.shift, cached, first)
        mask = None if mask is None else mask.to(device)
        return LayerTables(
            rotary=on_device(rotary, device),
            mask=mask,
            slots=slots,
            past=self._past,
            new=self._new,
            dtype=hidden.dtype,
            partly_frozen=frozen,
        )
