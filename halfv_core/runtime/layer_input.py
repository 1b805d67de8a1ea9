"""LayerInput: the tensors of one decoder layer's call, for the tokens that are still in the decoder."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from halfv_core.runtime.frozen_split import FrozenSplit, FrozenTokens
from halfv_core.runtime.rotary_tables import RotaryTables, first_table, of_row, of_tokens
from halfv_core.runtime.token_slots import TokenSlots


@dataclass(frozen=True)
class LayerTables:
    """What the layers between two prunings have in common: their tokens, and the tables of these tokens.

    What is derived from them is computed once for all of these layers. On an accelerator a layer of a 7B model takes
    as long as some twenty small kernels, so that indexing anew in each layer would cost what the plan saves.
    """

    rotary: RotaryTables
    """The model's rotary tables at the tokens' original positions, (B or 1, n, ...) each."""
    mask: torch.Tensor | None
    """(B or 1, 1, n, m), bool (true: visible) or additive; the last n of the m keys are these tokens' own. None stands
    for plain causality. Under FlashAttention a padding mask, (B, m) bool, true at real keys."""
    slots: TokenSlots
    past: int
    """Tokens of the sequence before this prefill."""
    new: int
    """Tokens of this prefill, q, those that were pruned included."""
    dtype: torch.dtype
    """Of an additive mask."""
    partly_frozen: FrozenTokens | None = None
    """Of these tokens, those that frozen layers do not update; None for all visual tokens."""
    _gathered: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def indices(self) -> torch.Tensor:
        """(B, n) index of each slot's token among the q tokens of the prefill."""
        return self.slots.positions - self.past

    @property
    def frozen(self) -> FrozenTokens:
        """Of these tokens, those that frozen layers do not update."""
        return self.partly_frozen or FrozenTokens(self.slots.visual, self.slots.visual_counts)

    @cached_property
    def split(self) -> FrozenSplit:
        """The two parts of these tokens in a frozen layer."""
        return FrozenSplit.of(self.slots, self.frozen, self.rotary, self.mask, self.past, self.dtype)

    def arguments(self, original: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments of a layer's call for all n tokens, made from those for the q tokens of the prefill."""
        return self.gather(original, self.indices, self.rotary) | {"attention_mask": self.mask}

    def gather(self, original: Mapping[str, Any], indices: torch.Tensor, rotary: RotaryTables) -> dict[str, Any]:
        """A layer call's keyword arguments, those that have an entry for each token reduced to some of the tokens.

        Args:
            original: the arguments for all q tokens of the prefill.
            indices: (B, k) indices of the wanted tokens among the q, the same object in every call.
            rotary: the rotary tables of the wanted tokens.
        """
        return _reduced(original, rotary, lambda name, value: self._once(name, value, indices))

    def of_row(self, original: Mapping[str, Any], row: int, slots: torch.Tensor) -> dict[str, Any]:
        """A layer call's keyword arguments for the tokens in some slots, (k,), of one row, as a batch of one."""
        rotary = of_tokens(of_row(self.rotary, row), slots[None])
        indices = self.indices[row, slots][None]

        def alone(name: str, value: torch.Tensor) -> torch.Tensor:
            return _of_tokens(name, _of_row(name, value, row, self.slots.rows, self.new), indices, self.new)

        return _reduced(original, rotary, alone)

    def _once(self, name: str, table: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        key = id(table), id(indices)
        if key not in self._gathered:  # with both tensors, so that their ids are not given to others
            self._gathered[key] = _of_tokens(name, table, indices, self.new), table, indices
        return self._gathered[key][0]


@dataclass(frozen=True)
class LayerInput:
    """A batch as it enters a layer, n token slots in each of B rows."""

    hidden: torch.Tensor
    """(B, n, D) hidden states."""
    tables: LayerTables
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of the layer's call, as the model made them for all q tokens of the prefill."""

    @property
    def slots(self) -> TokenSlots:
        """The tokens."""
        return self.tables.slots

    def last_slots(self) -> torch.Tensor:
        """(B, 1) slot index of each row's last real token, which predicts the answer."""
        indices = torch.arange(self.slots.length, device=self.hidden.device)
        return torch.where(self.slots.real, indices, 0).amax(1, keepdim=True)


def arguments_of(original: Mapping[str, Any], indices: torch.Tensor, new: int) -> dict[str, Any]:
    """Keyword arguments of a layer's call for some tokens of a batch of one, from those for all.

    Args:
        original: the arguments for all tokens.
        indices: (1, k) of the wanted tokens.
        new: number of all tokens.
    """
    rotary: RotaryTables = original.get("position_embeddings")
    first = first_table(rotary)
    rotary = rotary if first is None else of_tokens(rotary, indices.to(first.device))
    return _reduced(original, rotary, lambda name, value: _of_tokens(name, value, indices.to(value.device), new))


def in_each_row(arguments: Mapping[str, Any], hidden: torch.Tensor) -> dict[str, Any]:
    """Keyword arguments of a layer's call for (B, r, D) states, from those for a batch of one.

    What says something of each of the r tokens, such as its modality, gets B rows; what may have one row for a batch of
    any size stays.
    """

    def of(name: str, value: Any) -> Any:
        is_each = isinstance(value, torch.Tensor) and value.shape[:2] == (1, hidden.shape[1])
        return value.expand(len(hidden), *value.shape[1:]) if is_each and name not in _FOR_ALL_ROWS else value

    return {name: of(name, value) for name, value in arguments.items()}


_WHOLE = ("attention_mask", "past_key_values")
"""Arguments that are replaced as a whole, not reduced to some tokens."""
_FOR_ALL_ROWS = ("attention_mask", "position_ids", "position_embeddings")
"""Arguments that layers take with one row for all rows of a batch."""


def _reduced(
    original: Mapping[str, Any], rotary: RotaryTables, reduce: Callable[[str, torch.Tensor], torch.Tensor]
) -> dict[str, Any]:
    """Keyword arguments of a layer's call, each tensor reduced to some tokens.

    Args:
        original: the arguments for all tokens.
        rotary: the rotary tables of the wanted tokens.
        reduce: from the name and value of an argument to its value for the wanted tokens.
    """
    arguments = dict(original)
    for name, value in original.items():
        if name == "position_embeddings":
            arguments[name] = None if value is None else rotary
        elif name not in _WHOLE and isinstance(value, torch.Tensor):
            arguments[name] = reduce(name, value)
    return arguments


def _of_tokens(name: str, table: torch.Tensor, indices: torch.Tensor, new: int) -> torch.Tensor:
    """An argument's entries at the token indices (B, k), if it has one for each of the `new` tokens.

    Args:
        name: of the argument. Position ids are (B or 1, q) or (axes, B or 1, q), cache positions (q,), others
            (B or 1, q, ...).
        table: its value for all tokens.
        indices: of the wanted tokens.
        new: number of all tokens.
    """
    if name == "cache_position":
        return table.index_select(0, indices[0])
    if name == "position_ids":
        whole = table.expand(*table.shape[:-2], len(indices), table.shape[-1])
        return whole.gather(-1, indices.expand(*table.shape[:-2], *indices.shape))
    if table.ndim < 2 or table.shape[1] != new or len(table) not in (1, len(indices)):
        return table
    if len(indices) == 1:
        return table.index_select(1, indices[0].to(table.device))
    whole = table.expand(len(indices), *table.shape[1:])
    return whole[torch.arange(len(indices), device=table.device)[:, None], indices.to(table.device)]


def _of_row(name: str, table: torch.Tensor, row: int, rows: int, new: int) -> torch.Tensor:
    """An argument's entries for one row of the batch."""
    axis = table.ndim - 2 if name == "position_ids" else 0
    if name == "cache_position" or table.ndim < 2 or table.shape[axis] != rows or new not in table.shape[axis + 1 :]:
        return table
    return table.narrow(axis, row, 1)
