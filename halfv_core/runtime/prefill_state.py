"""PrefillState: a forward call with visual tokens, on its way through the decoder under a plan."""

from collections.abc import Callable
from typing import Any

import torch

from halfv_core.families.base import Parts
from halfv_core.placement import device_of
from halfv_core.plan import Keep, Plan
from halfv_core.runtime.cache_state import CacheState
from halfv_core.runtime.layer_input import LayerInput, LayerTables
from halfv_core.runtime.layout import TokenLayout
from halfv_core.runtime.masks import prefill_mask, prefill_padding_mask
from halfv_core.runtime.pruning import Finite, check_finite, prune
from halfv_core.runtime.token_slots import TokenSlots, gather_tokens


class PrefillState:
    """The tokens of one prefill that are still in the decoder, layer after layer.

    For every layer: `enter_layer`, the layer's forward on what that returns, `leave_layer`.
    """

    def __init__(
        self,
        parts: Parts,
        plan: Plan,
        cache_state: CacheState,
        layout: TokenLayout,
        past: int,
        mask: torch.Tensor | None,
    ) -> None:
        """Begin the prefill.

        Args:
            parts: of the model.
            plan: what to do with the visual tokens.
            cache_state: what the cache holds before the prefill, and where its tokens are added at the end.
            layout: which of the B rows' q new tokens are visual.
            past: tokens of the sequence before the new ones.
            mask: layer 0's attention mask, which serves all layers. A model with layers of several kinds makes a mask
                for each kind, as wide as the cache of the first layer of that kind, which may be a pruned one. Layer 0
                is never pruned, and within the sliding window all kinds of layers see the same.

        Raises:
            UnsupportedError: see `CacheState.check_sequence`.
        """
        cache_state.check_sequence(past, past + layout.length, is_prefill=True)
        cache_state.begin_prefill()
        self._parts = parts
        self._keeps = {keep.layer: keep for keep in plan.keeps}
        self._frozen_layers = plan.frozen_layers
        self._cache_state = cache_state
        self._past = past
        self._length = past + layout.length
        self._mask = mask
        self._ends_in_image = layout.ends_in_visual
        # Of each group of layers (see CacheState) so far; the last ones are the tokens now in the decoder.
        self._slots = [TokenSlots.all_of(layout, past)]
        self._tables: dict[tuple[bool, int, int, torch.device], tuple[LayerTables, object]] = {}
        self._ranked_by: list[Finite] = []
        self._previous: LayerInput | None = None
        self._finished = False

    def enter_layer(self, index: int, hidden: torch.Tensor, kwargs: dict[str, Any]) -> LayerInput:
        """The input of layer `index`, after the plan's Keep at this layer, if it has one.

        Args:
            index: of the layer.
            hidden: (B, n, D), the output of the layer before.
            kwargs: the layer call's keyword arguments, which the model made for all q tokens of the prefill.
        """
        # Of layers on several devices, accelerate moves a layer's arguments only after this.
        device = device_of(self._parts.layers[index])
        hidden, self._slots[-1] = hidden.to(device), self._slots[-1].to(device)
        keep = self._keeps.get(index)
        if keep is not None:
            hidden = self._prune(keep, hidden)
        freezes = self.freezes(index)
        cached = self._cache_state.cached_length(index, self._past)
        self._cache_state.record.add_layer(index, self._slots[-1], freezes, cached)
        # The queries of a frozen layer are not contiguous, which a padding mask cannot express.
        self._previous = self._layer_input(index, hidden, kwargs, padding_mask=self._parts.flash and not freezes)
        return self._previous

    def freezes(self, index: int) -> bool:
        """Whether layer `index`, which the prefill has entered, runs for the text tokens only."""
        return index in self._frozen_layers and any(self._slots[-1].visual_counts)

    def layer_arguments(self, index: int, layer_input: LayerInput, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Keyword arguments of the call of layer `index` for its input; `kwargs` itself while nothing was pruned."""
        if self._is_whole(index):
            return kwargs
        arguments = layer_input.tables.arguments(kwargs)
        if self._parts.flash:
            arguments["position_ids"] = None  # transformers takes gaps in them for the borders of packed sequences
        return arguments

    def leave_layer(self, index: int, output: torch.Tensor) -> torch.Tensor:
        """The output of layer `index`, to be handed to the next layer or, after the last one, to the model.

        Args:
            index: of the layer.
            output: (B, n, D), what the layer made of its input.

        Returns:
            (B, n, D), `output` itself; after the last layer (B, q, D), with zeros at the pruned tokens.

        Raises:
            UnsupportedError: after the last layer: numbers by which tokens were ranked are NaN or infinite.
        """
        if index + 1 < len(self._parts.layers):
            return output
        check_finite(self._ranked_by, output.dtype)  # not sooner: the device would run idle meanwhile
        slots = self._slots[-1]
        self._cache_state.add_prefill(self._slots, self._past, self._length, ends_in_image=self._ends_in_image)
        self._previous, self._tables, self._finished = None, {}, True
        if slots.unpruned:
            return output
        full = output.new_zeros(slots.rows, self._length - self._past, output.shape[2])
        indices = (slots.positions - self._past)[..., None].expand_as(output)
        return full.scatter(1, indices, output.masked_fill(~slots.real[..., None], 0))

    def add_deepstack(self, hidden: torch.Tensor, add: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Add vision features between two layers, as the model would add them to all tokens of the prefill.

        Args:
            hidden: (B, n, D), the output of the layer before.
            add: the model's own addition, which takes (B, q, D).

        Returns:
            (B, n, D).
        """
        slots = self._slots[-1]
        if self._finished or slots.unpruned:
            return add(hidden)
        slots = slots.to(hidden.device)
        features = add(hidden.new_zeros(slots.rows, self._length - self._past, hidden.shape[2]))
        return hidden + gather_tokens(features, slots.positions - self._past)

    def _prune(self, keep: Keep, hidden: torch.Tensor) -> torch.Tensor:
        """Carry out the Keep at the layer that `hidden` is about to enter, where a new group of layers begins."""
        assert self._previous is not None, "a Keep is at layer 1 or deeper"
        original_counts = self._slots[0].visual_counts
        pruned = prune(self._parts, keep, self._previous, self._slots[-1], hidden, original_counts)
        self._slots.append(pruned.slots)
        self._ranked_by += pruned.finite
        self._tables = {}
        for row, positions in pruned.anchors.items():
            self._cache_state.record.add_anchors(keep.layer, row, positions)
        self._cache_state.record.add_kept(keep.layer, pruned.slots)
        return pruned.hidden

    def _is_whole(self, index: int) -> bool:
        """Whether layer `index` sees the whole sequence."""
        return self._slots[-1].unpruned and self._cache_state.cached(index) is None

    def _layer_input(
        self, index: int, hidden: torch.Tensor, kwargs: dict[str, Any], *, padding_mask: bool
    ) -> LayerInput:
        """Add to the hidden states their rotary tables and mask, which are gathered once for all layers of a group."""
        (cos, sin), mask = kwargs["position_embeddings"], kwargs.get("attention_mask")
        key = padding_mask, id(cos), id(mask), hidden.device
        if key not in self._tables:
            # With the model's own tables, so that their ids are not given to others.
            self._tables[key] = self._make_tables(index, hidden, cos, sin, mask, padding_mask), (cos, mask)
        return LayerInput(hidden, self._tables[key][0])

    def _make_tables(
        self,
        index: int,
        hidden: torch.Tensor,
        cos: torch.Tensor,
        sin: torch.Tensor,
        mask: torch.Tensor | None,
        padding_mask: bool,
    ) -> LayerTables:
        """The model's tables, or the entries of them that belong to the tokens now in the decoder."""
        if not self._is_whole(index) or padding_mask != self._parts.flash:
            slots = self._slots[-1].to(cos.device)
            full = None if self._mask is None else self._mask.to(cos.device)
            cached = self._cache_state.cached(index)
            if padding_mask:
                mask = prefill_padding_mask(full, slots, cached, self._past)
            else:
                mask = prefill_mask(full, slots, cached, self._past, hidden.dtype)
            indices = slots.positions - self._past
            cos, sin = gather_tokens(cos, indices), gather_tokens(sin, indices)
        device = hidden.device
        mask = None if mask is None else mask.to(device)
        return LayerTables(cos.to(device), sin.to(device), mask, self._slots[-1], self._past)
