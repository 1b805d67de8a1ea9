"""PrefillState: a forward call with visual tokens, on its way through the decoder under a plan."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from transformers import Cache

from halfv_core.families.base import Parts
from halfv_core.interventions import Freeze, Hide, Keep, runs_of
from halfv_core.placement import device_of
from halfv_core.plan import Plan
from halfv_core.runtime.cache_cut import cut_caches
from halfv_core.runtime.cache_state import CacheState
from halfv_core.runtime.choosing import Choice, Finite, check_finite, choose, merge
from halfv_core.runtime.frozen_split import FrozenTokens
from halfv_core.runtime.layer_input import LayerInput
from halfv_core.runtime.layout import TokenLayout
from halfv_core.runtime.prompt_view import Surroundings
from halfv_core.runtime.run_record import PastTokens
from halfv_core.runtime.sources import Sources
from halfv_core.runtime.tables import Tables
from halfv_core.runtime.token_slots import TokenSlots, gather_tokens
from halfv_core.runtime.triggers import Triggers


class Carried(NamedTuple):
    """All tokens of the batch, while some of them are hidden."""

    hidden: torch.Tensor
    """(B, n, D) hidden states as they were before the first hidden layer."""
    slots: TokenSlots
    remaining: torch.Tensor
    """(B, n') indices of the tokens that are not hidden, padding included."""


class Previous(NamedTuple):
    """The latest layer with attention that the tokens have gone through."""

    layer: int
    input: LayerInput


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
        sources: Sources | None = None,
    ) -> None:
        """Begin the prefill.

        Args:
            parts: of the model.
            plan: what to do with the visual tokens.
            cache_state: what the cache holds before the prefill, and where its tokens are added at the end.
            layout: which of the B rows' q new tokens are visual.
            past: tokens of the sequence before the new ones.
            sources: what else selectors may look at.

        Raises:
            UnsupportedError: see `CacheState.check_sequence`.
        """
        cache_state.check_sequence(past, past + layout.length, is_prefill=True)
        cache_state.begin_prefill()
        self._parts = parts
        self._keeps = {keep.layer: keep for keep in plan.keeps}
        self._freezes = _starts(plan.freezes)
        self._hides = _starts(plan.hides)
        self._frozen_layers = plan.frozen_layers
        self._hidden_layers = plan.hidden_layers
        self._reads_input = "input" in plan.reads()
        self._triggers = Triggers(plan.whens, layout.rows)
        self._cache_state = cache_state
        self._sources = sources or Sources(plan)
        self._past = past
        self._length = past + layout.length
        self._ends_in_image = layout.ends_in_visual
        self._whole = TokenSlots.all_of(layout, past, padding_first=bool(parts.recurrent))
        self._slots = self._whole  # the tokens now in the decoder
        self._by_layer: list[TokenSlots] = []  # those that went through each layer
        self._cut: torch.Tensor | None = None  # (B, q) bool: tokens that leave the caches of all layers at the end
        self._partly_frozen: FrozenTokens | None = None
        self._carried: Carried | None = None
        self._whole_hidden: torch.Tensor | None = None  # (B, q, D) input of layer 0
        self._tables = Tables(parts, cache_state, past, layout.length)
        self._ranked_by: list[Finite] = []
        self._previous: Previous | None = None
        self._back: torch.Tensor | None = None  # (B, n) slots of the previous layer; see Surroundings
        self._finished = False

    def enter_layer(self, index: int, hidden: torch.Tensor, kwargs: dict[str, Any]) -> LayerInput:
        """The input of layer `index`, after what the plan does there.

        Args:
            index: of the layer.
            hidden: (B, n, D), the output of the layer before.
            kwargs: the layer call's keyword arguments, which the model made for all q tokens of the prefill.
        """
        # Of layers on several devices, accelerate moves a layer's arguments only after this.
        device = device_of(self._parts.layers[index])
        hidden, self._slots = hidden.to(device), self._slots.to(device)
        if index == 0 and self._reads_input:
            self._whole_hidden = hidden
        if index not in self._hidden_layers or index in self._hides:
            hidden = self._bring_back(hidden)
        hidden = self._prune(index, hidden, kwargs)
        if any(self._slots.visual_counts):
            if index in self._freezes:
                self._freeze(self._freezes[index], index, hidden, kwargs)
            if index in self._hides:
                hidden = self._hide(self._hides[index], index, hidden, kwargs)
        freezes = self.freezes(index)
        past = PastTokens(self._past, self._cache_state.cached_length(index, self._past))
        frozen = self._frozen_tokens.counts if freezes else (0,) * self._slots.rows
        self._cache_state.record.add_layer(index, self._slots, self._whole, frozen, past)
        self._by_layer.append(self._slots)
        # The queries of a frozen layer are not contiguous, which a padding mask cannot express.
        padding_mask = self._parts.flash and not freezes
        layer_input = self._tables.layer_input(
            index, hidden, self._slots, self._partly_frozen, kwargs, padding_mask=padding_mask
        )
        if index not in self._parts.recurrent:
            self._previous, self._back = Previous(index, layer_input), None
        return layer_input

    def freezes(self, index: int) -> bool:
        """Whether layer `index`, which the prefill has entered, does not update all of its tokens."""
        return index in self._frozen_layers and any(self._frozen_tokens.counts)

    def layer_arguments(self, index: int, layer_input: LayerInput, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Keyword arguments of the call of layer `index` for its input; `kwargs` itself while nothing was pruned."""
        if self._tables.is_whole(index, self._slots):
            return kwargs
        arguments = layer_input.tables.arguments(kwargs)
        if self._parts.flash:
            arguments["position_ids"] = None  # transformers takes gaps in them for the borders of packed sequences
        return arguments

    def leave_layer(self, index: int, output: torch.Tensor, cache: Cache | None = None) -> torch.Tensor:
        """The output of layer `index`, to be handed to the next layer or, after the last one, to the model.

        Args:
            index: of the layer.
            output: (B, n, D), what the layer made of its input.
            cache: the batch's KV cache, if there is one.

        Returns:
            (B, n, D), `output` itself; after the last layer (B, q, D), with zeros at the pruned tokens.

        Raises:
            UnsupportedError: after the last layer: numbers by which tokens were ranked are NaN or infinite.
        """
        if index + 1 < len(self._parts.layers):
            return output
        check_finite(self._ranked_by, output.dtype)  # not sooner: the device would run idle meanwhile
        self._slots = self._slots.to(output.device)
        output = self._bring_back(output)
        cached = self._by_layer
        if self._cut is not None:
            cached = cut_caches(cache, cached, self._cut, self._past, self._cache_state.record)
        self._cache_state.add_prefill(cached, self._past, self._length, ends_in_image=self._ends_in_image)
        self._tables.forget()
        self._previous, self._whole_hidden, self._finished = None, None, True
        if self._slots.unpruned:
            return output
        full = output.new_zeros(self._slots.rows, self._length - self._past, output.shape[2])
        indices = (self._slots.positions - self._past)[..., None].expand_as(output)
        return full.scatter(1, indices, output.masked_fill(~self._slots.real[..., None], 0))

    def add_deepstack(self, hidden: torch.Tensor, add: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """Add vision features between two layers, as the model would add them to all tokens of the prefill.

        Args:
            hidden: (B, n, D), the output of the layer before.
            add: the model's own addition, which takes (B, q, D).

        Returns:
            (B, n, D).
        """
        if self._finished or self._slots.unpruned:
            return add(hidden)
        features = add(hidden.new_zeros(self._slots.rows, self._length - self._past, hidden.shape[2]))
        if self._carried is not None:
            self._carried = self._carried._replace(
                hidden=self._added(self._carried.hidden, self._carried.slots, features)
            )
        return self._added(hidden, self._slots, features)

    def observes(self, index: int) -> bool:
        """Whether the sub-layers of layer `index`, which the prefill has entered, are looked at."""
        return index in self._sources.observed and not self.freezes(index)

    def note_sublayer(self, index: int, sublayer: int, before: torch.Tensor, after: torch.Tensor) -> None:
        """Note what a sub-layer of layer `index` made of its tokens.

        Args:
            index: of the layer.
            sublayer: 0 for attention, 1 for the MLP.
            before: (B, n, D) its input.
            after: (B, n, D) its output.
        """
        self._sources.note_sublayer(index, sublayer, before, after, self._slots, self._whole)

    def _added(self, hidden: torch.Tensor, slots: TokenSlots, features: torch.Tensor) -> torch.Tensor:
        positions = slots.to(hidden.device).positions
        return hidden + gather_tokens(features.to(hidden.device), positions - self._past)

    def _prune(self, index: int, hidden: torch.Tensor, kwargs: dict[str, Any]) -> torch.Tensor:
        """What a When or the Keep does at the layer that `hidden` is about to enter."""
        rows: set[int] = set()
        if self._triggers.may_fire(index) and any(self._slots.visual_counts):
            around = self._surroundings(index, hidden, kwargs)
            if around.previous is not None:
                for number, then, fired in self._triggers.fire(around):
                    choice = choose(around, then, self._whole.visual_counts, fired)
                    hidden = self._leave(index, hidden, choice, rows)
                    self._cache_state.record.add_fired(number, index, fired)
                    around = self._surroundings(index, hidden, kwargs)
        keep = self._keeps.get(index)
        if keep is not None:
            if any(self._slots.visual_counts):
                around = self._surroundings(index, hidden, kwargs)
                choice = choose(around, keep, self._whole.visual_counts)
                if choice is not None and keep.merge is not None:
                    choice, hidden = merge(around, keep, choice)
                hidden = self._leave(index, hidden, choice, rows)
            rows.update(range(self._slots.rows))
            if not self._slots.unpruned:
                self._after_keep(keep)
        if rows:
            self._cache_state.record.add_kept(index, self._slots, sorted(rows))
        return hidden

    def _leave(self, index: int, hidden: torch.Tensor, choice: Choice | None, rows: set[int]) -> torch.Tensor:
        """Let the tokens that are not chosen leave the batch; notes the rows that have lost some."""
        if choice is None:
            return hidden
        self._note(index, choice)
        rows.update(row for row, count in enumerate(choice.counts) if count)
        self._slots, remaining = self._slots.without(choice.others, choice.counts)
        self._back = remaining if self._back is None else self._back.gather(1, remaining)
        self._tables.forget()
        return gather_tokens(hidden, remaining)

    def _after_keep(self, keep: Keep) -> None:
        if keep.positions == "renumbered":
            self._slots = self._slots.renumbered(self._whole.to(self._slots.positions.device))
            self._tables.forget()
        if keep.cache == "everywhere":
            indices = self._slots.positions - self._past
            whole = self._whole.to(indices.device)
            self._cut = whole.visual.scatter(1, indices, whole.visual.gather(1, indices) & ~self._slots.real)

    def _note(self, index: int, choice: Choice) -> None:
        self._ranked_by += choice.finite
        for row, positions in choice.anchors.items():
            if len(positions):
                self._cache_state.record.add_anchors(index, row, positions)

    def _freeze(self, freeze: Freeze, index: int, hidden: torch.Tensor, kwargs: dict[str, Any]) -> None:
        """Choose the tokens that a run of frozen layers updates all the same."""
        if freeze.is_empty and self._partly_frozen is None:
            return
        self._partly_frozen = None
        if not freeze.is_empty:
            choice = choose(self._surroundings(index, hidden, kwargs), freeze, self._whole.visual_counts)
            if choice is None:
                self._partly_frozen = FrozenTokens(torch.zeros_like(self._slots.visual), (0,) * self._slots.rows)
                self._cache_state.record.add_exempt(index, self._slots)
            else:
                self._ranked_by += choice.finite
                self._partly_frozen = FrozenTokens(choice.others, choice.counts)
                self._cache_state.record.add_exempt(index, self._slots.without(choice.others, choice.counts)[0])
        self._tables.forget()  # which name the frozen tokens

    def _hide(self, hide: Hide, index: int, hidden: torch.Tensor, kwargs: dict[str, Any]) -> torch.Tensor:
        """Begin a run of hidden layers."""
        choice = choose(self._surroundings(index, hidden, kwargs), hide, self._whole.visual_counts)
        if choice is None:
            self._cache_state.record.add_exempt(index, self._slots)
            return hidden
        self._ranked_by += choice.finite
        slots, remaining = self._slots.without(choice.others, choice.counts)
        if not hide.is_empty:
            self._cache_state.record.add_exempt(index, slots)
        self._carried = Carried(hidden, self._slots, remaining)
        self._back = remaining if self._back is None else self._back.gather(1, remaining)
        self._slots = slots
        self._tables.forget()
        return gather_tokens(hidden, remaining)

    def _bring_back(self, hidden: torch.Tensor) -> torch.Tensor:
        """End a run of hidden layers: (B, n', D) of the tokens that went through them -> (B, n, D) of all."""
        if self._carried is None:
            return hidden
        whole, slots, remaining = self._carried
        whole, slots, remaining = whole.to(hidden.device), slots.to(hidden.device), remaining.to(hidden.device)
        # A padding slot holds one of the tokens that were hidden, which is as it was.
        updated = torch.where(self._slots.real[..., None], hidden, gather_tokens(whole, remaining))
        self._carried, self._slots, self._previous, self._back = None, slots, None, None
        self._tables.forget()
        return whole.scatter(1, remaining[..., None].expand_as(updated), updated)

    def _surroundings(self, index: int, hidden: torch.Tensor, kwargs: dict[str, Any]) -> Surroundings:
        """What is at hand for a choice before layer `index`, whose input is (B, n, D) `hidden`."""
        slots, frozen = self._slots, self._partly_frozen
        made: list[LayerInput] = []

        def own() -> LayerInput:
            if not made:
                made.append(self._tables.layer_input(index, hidden, slots, frozen, kwargs, padding_mask=False))
            return made[0]

        return Surroundings(
            parts=self._parts,
            layer=index,
            own=own,
            previous=None if self._previous is None else self._previous.input,
            previous_layer=index - 1 if self._previous is None else self._previous.layer,
            back=self._back,
            whole=self._whole_hidden,
            transitions=self._sources.transitions,
            token_ids=self._sources.token_ids,
            vision=self._sources.vision,
            grids=self._sources.grids,
            unpruned=slots.unpruned,
        )

    @property
    def _frozen_tokens(self) -> FrozenTokens:
        return self._partly_frozen or FrozenTokens(self._slots.visual, self._slots.visual_counts)


def _starts(items: Sequence[Any]) -> dict[int, Any]:
    """By the first layer of each run of layers: the intervention."""
    return {run[0]: item for item in items for run in runs_of(item.layers)}
