"""PrefillState: a batch on its way down the decoder under a plan: tokens in flight, and what the caches hold."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import Cache, DynamicCache

from halfv_core.errors import UnsupportedError
from halfv_core.families.base import Parts
from halfv_core.plan import Keep, Plan
from halfv_core.runtime.attention import attention_scores
from halfv_core.runtime.cached_tokens import CachedTokens
from halfv_core.runtime.layer_input import LayerInput, pick
from halfv_core.runtime.layout import TokenLayout
from halfv_core.runtime.masks import cut_mask, cut_padding, text_mask, text_padding
from halfv_core.runtime.run_record import RunRecord
from halfv_core.runtime.token_slots import TokenSlots
from halfv_core.selectors import make_selector
from halfv_core.selectors.base import Scoring


def check_cache(cache: Cache | None) -> None:
    """Refuse a cache that cannot hold a different number of tokens in each layer.

    Raises:
        UnsupportedError: it is not a DynamicCache.
    """
    if cache is not None and type(cache) is not DynamicCache:
        raise UnsupportedError(
            "this cache cannot hold a different length for each layer",
            got=type(cache).__name__,
            expected="DynamicCache",
        )


class PrefillState:
    """State of one batch under a plan; it lives as long as the batch's cache.

    Layers between two prunings see the same tokens: they form a *group*, group 0 those before the first pruning.
    """

    def __init__(self, parts: Parts, plan: Plan, ledger: RunRecord) -> None:
        self.ledger = ledger
        self.in_turn = False
        """Whether a turn with visual tokens is on its way down."""
        self._parts = parts
        self._keeps = {keep.layer: keep for keep in plan.keeps}
        self._frozen = plan.frozen_layers
        self._group = [sum(layer <= index for layer in self._keeps) for index in range(len(parts.layers))]
        self._held: list[CachedTokens | None] = [None] * (len(self._keeps) + 1)
        self._length = 0  # of the sequence, the turn under way included
        self._pruned_until = 0  # the cache must not be cut below this
        self._past = 0
        self._window = parts.window if plan.interventions else None
        self._flash = parts.flash
        self._mask: torch.Tensor | None = None  # of layer 0, see _note_mask

    # -- a turn ----------------------------------------------------------------------------------------------------

    def begin(self, layout: TokenLayout, past: int) -> None:
        """A turn with visual tokens comes in after `past` tokens of the sequence.

        Raises:
            UnsupportedError: the cache was cut into what was pruned, or the sequence outgrows a sliding window.
        """
        self._check_past(past)
        self._past, self._length = past, past + layout.length
        self._check_window()
        self._slots = TokenSlots.all_of(layout.prunable, layout.real, past)
        self._original_counts = self._slots.visual_counts
        self._turn: list[TokenSlots | None] = [None] * len(self._held)
        self._before: LayerInput | None = None
        self._tables: dict[tuple[int, bool, int], tuple[Any, ...]] = {}
        self.in_turn = True

    def go_on(self, past: int, new: int) -> None:
        """Text comes in after `past` tokens of the sequence.

        Raises:
            UnsupportedError: the cache was cut into what was pruned, or the sequence outgrows a sliding window.
        """
        self._check_past(past)
        self._past, self._length = past, past + new
        if self._pruned_until:
            self._check_window()
        self.in_turn = False

    def _check_past(self, past: int) -> None:
        if past < self._pruned_until:
            raise UnsupportedError(
                "the cache was cut into the prompt", got=past, expected=f"{self._pruned_until} or more"
            )

    def _check_window(self) -> None:
        """Within the window a sliding layer sees what a full one sees; beyond it, it would count dropped tokens not."""
        if self._window is not None and self._length > self._window:
            raise UnsupportedError(
                "a plan works only while prompt and answer fit the decoder's sliding window",
                got=f"{self._length} tokens",
                expected=f"{self._window} or fewer",
                remedy="shorten the prompt or the answer, or run this one without the plan",
            )

    def _note_mask(self, index: int, kwargs: dict[str, Any]) -> None:
        """Remember layer 0's mask, which serves all layers.

        A model whose layers are of several kinds makes a mask for each, as wide as the cache of the first layer of its
        kind, and that may be a pruned one. Layer 0 is never pruned, and within the window all kinds see the same.
        """
        if index == 0:
            self._mask = kwargs.get("attention_mask")

    @property
    def slots(self) -> TokenSlots:
        """The tokens in flight."""
        return self._slots

    def arrive(self, index: int, hidden: torch.Tensor, cache: Cache | None, kwargs: dict[str, Any]) -> LayerInput:
        """The tokens in flight at layer `index`, after the plan's Keep there if it has one.

        Args:
            hidden: (B, n, D), as the layer before left it.
            kwargs: the layer call's arguments, still of the whole turn.
        """
        self._note_mask(index, kwargs)
        # Where layers lie on several devices, accelerate moves what a layer is given only after this.
        device = next(self._parts.layers[index].parameters()).device
        hidden, self._slots = hidden.to(device), self._slots.to(device)
        keep = self._keeps.get(index)
        if keep is not None:
            hidden = self._prune(keep, index, hidden)
        self._turn[self._group[index]] = self._slots
        self._check_cache(index, cache)
        # Queries of a frozen layer lie apart from each other, which takes a whole mask.
        freezes = self.freezes(index)
        self.ledger.enter(index, self._slots, freezes, self.cached(index))
        self._before = self._step(index, hidden, kwargs, padding=self._flash and not freezes)
        return self._before

    def freezes(self, index: int) -> bool:
        """Whether layer `index`, where the turn has arrived, runs for the text alone."""
        return index in self._frozen and any(self._slots.visual_counts)

    def arguments(self, index: int, step: LayerInput, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The layer call's arguments for the tokens in flight; the very same ones while all are."""
        if self._is_whole(index):
            return kwargs
        call = step.call_arguments(kwargs)
        if self._flash:
            call["position_ids"] = None  # transformers takes gaps in them for the borders of packed sequences
        return call

    def leave(self, index: int, output: torch.Tensor) -> torch.Tensor:
        """What layer `index` hands on; after the last one the turn has its full length, zeros at dropped tokens."""
        if index + 1 < len(self._parts.layers):
            return output
        slots, self._before = self._slots, None
        self._finish()
        if slots.untouched:
            return output
        full = output.new_zeros(slots.rows, self._length - self._past, output.shape[2])
        where = (slots.positions - self._past)[..., None].expand_as(output)
        return full.scatter(1, where, output.masked_fill(~slots.living[..., None], 0))

    def add_deepstack(self, hidden: torch.Tensor, add: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Add to the tokens in flight (B, n, D) what the model would add to those of the whole turn.

        Args:
            add: the model's own addition, of the whole turn's (B, q, D).
        """
        if not self.in_turn or self._slots.untouched:
            return add(hidden)
        slots = self._slots.to(hidden.device)
        features = add(hidden.new_zeros(slots.rows, self._length - self._past, hidden.shape[2]))
        return hidden + pick(features, slots.positions - self._past)

    def _is_whole(self, index: int) -> bool:
        return self._slots.untouched and self._held[self._group[index]] is None

    def _step(self, index: int, hidden: torch.Tensor, kwargs: dict[str, Any], padding: bool) -> LayerInput:
        """Masks and rotary tables come for the whole turn at every layer; they are cut once for each set of tokens."""
        cos, sin = kwargs["position_embeddings"]
        if self._is_whole(index) and padding == self._flash:
            cut = cos, sin, kwargs.get("attention_mask")
        else:
            key = self._group[index], padding, id(cos)
            if key not in self._tables:
                self._tables[key] = (*self._cut(index, hidden, cos, sin, padding), cos)  # kept, so the id stays its
            cut = self._tables[key][:3]
        cos, sin, mask = (None if table is None else table.to(hidden.device) for table in cut)
        assert cos is not None and sin is not None
        return LayerInput(hidden, cos, sin, mask, self._slots, self._past)

    def _cut(
        self, index: int, hidden: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, padding: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        slots = self._slots.to(cos.device)
        where = slots.positions - self._past
        full = None if self._mask is None else self._mask.to(cos.device)
        held = self._held[self._group[index]]
        if padding:
            mask = cut_padding(full, slots, held, self._past)
        else:
            mask = cut_mask(full, slots, held, self._past, hidden.dtype)
        return pick(cos, where), pick(sin, where), mask

    def _prune(self, keep: Keep, index: int, hidden: torch.Tensor) -> torch.Tensor:
        slots = self._slots
        targets = [
            min(keep.count(had), now) for had, now in zip(self._original_counts, slots.visual_counts, strict=True)
        ]
        dropped = torch.zeros_like(slots.visual)
        for row, (count, now) in enumerate(zip(targets, slots.visual_counts, strict=True)):
            if count < now:
                chosen = self._choose(keep, index, hidden, row, count)
                gone = torch.ones(now, dtype=torch.bool, device=hidden.device).index_fill(0, chosen, False)
                dropped[row] = dropped[row].index_put((slots.visual_slots(row),), gone)
        fewer = [now - count for count, now in zip(targets, slots.visual_counts, strict=True)]
        if any(fewer):
            self._slots, picked = slots.without(dropped, fewer)
            hidden = pick(hidden, picked)
        self.ledger.keep(keep.layer, self._slots)
        return hidden

    @torch.no_grad()
    def _choose(self, keep: Keep, index: int, hidden: torch.Tensor, row: int, count: int) -> torch.Tensor:
        """(count,) indices into the row's living visual tokens; notes which of them attention chose."""
        if count == 0:
            return torch.empty(0, dtype=torch.long, device=hidden.device)
        assert self._before is not None, "layer 0 is never pruned, so a layer came before"
        view = _View(self._parts, index, self._before, hidden, row)
        selector = make_selector(keep.selector, keep.options)
        chosen = selector.select(view, count)
        anchors = chosen[: selector.anchors(count)]
        if len(anchors):
            slots = self._slots.visual_slots(row).index_select(0, anchors)
            self.ledger.anchor(keep.layer, row, self._slots.positions[row].index_select(0, slots))
        return chosen

    def _finish(self) -> None:
        for group, slots in enumerate(self._turn):
            if slots is not None:
                self._held[group] = CachedTokens.after(self._held[group], slots, self._past, self._length)
        self._pruned_until = self._length
        self._turn, self._tables, self.in_turn = [], {}, False

    # -- text after the prompt ---------------------------------------------------------------------------------------

    def continue_arguments(self, index: int, cache: Cache | None, kwargs: dict[str, Any]) -> dict[str, Any]:
        """The layer call's arguments when the layer's cache holds fewer tokens than layer 0's.

        Raises:
            UnsupportedError: the cache was changed since the prompt, not alike in all layers.
        """
        self._note_mask(index, kwargs)
        self._check_cache(index, cache)
        held, mask = self._held[self._group[index]], self._mask
        if held is None or (mask is None and not held.has_ghosts):
            return kwargs  # without a mask there is one new token, which sees all there is, or the kernel is causal
        like = kwargs["position_embeddings"][0]
        if self._flash:
            cut = text_padding(mask, held, self._length, like.device)
        else:
            cut = text_mask(mask, held, self._past, self._length, like)
        return dict(kwargs, attention_mask=cut)

    def cached(self, index: int) -> int:
        """Tokens of earlier turns that layer `index` holds in its cache."""
        held = self._held[self._group[index]]
        return self._past if held is None else held.length(self._past)

    def _check_cache(self, index: int, cache: Cache | None) -> None:
        expected = self.cached(index)
        if index > 0 and cache is not None and cache.get_seq_length(index) != expected:
            raise UnsupportedError(
                "the layers of the cache no longer fit together",
                got=f"{cache.get_seq_length(index)} tokens at layer {index}",
                expected=expected,
                remedy="cut a cache by the same number of tokens in every layer",
            )


class _View:
    """What a selector sees of one row; see `SelectionContext`."""

    def __init__(self, parts: Parts, index: int, before: LayerInput, hidden: torch.Tensor, row: int) -> None:
        self._parts = parts
        self._index = index
        self._before = before
        self._hidden = hidden
        self._row = row

    @property
    def visual_count(self) -> int:
        return self._before.slots.visual_counts[self._row]

    @property
    def device(self) -> torch.device:
        return self._hidden.device

    def attention_scores(self, scoring: Scoring, rope: bool) -> torch.Tensor:
        layer = self._parts.layers[self._index - 1]
        return attention_scores(self._parts, layer, self._before, self._row, scoring, rope).to(self.device)

    def normed_hidden(self) -> torch.Tensor:
        slots = self._before.slots.visual_slots(self._row).to(self.device)
        return self._parts.norm(self._hidden[self._row].index_select(0, slots))  # type: ignore[no-any-return]
