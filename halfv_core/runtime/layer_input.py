"""LayerInput: the tensors of one decoder layer's call, for the tokens that are still in the decoder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from halfv_core.runtime.frozen_split import FrozenSplit, FrozenTokens
from halfv_core.runtime.token_slots import TokenSlots


@dataclass(frozen=True)
class LayerTables:
    """What the layers between two prunings have in common: their tokens, and the tables of these tokens.

    What is derived from them is computed once for all of these layers. On an accelerator a layer of a 7B model takes
    as long as some twenty small kernels, so that indexing anew in each layer would cost what the plan saves.
    """

    cos: torch.Tensor
    """(B or 1, n, head_dim) rotary cosines at the tokens' original positions."""
    sin: torch.Tensor
    """(B or 1, n, head_dim) rotary sines."""
    mask: torch.Tensor | None
    """(B or 1, 1, n, m), bool (true: visible) or additive; the last n of the m keys are these tokens' own. None stands
    for plain causality. Under FlashAttention a padding mask, (B, m) bool, true at real keys."""
    slots: TokenSlots
    past: int
    """Tokens of the sequence before this prefill."""
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
        return FrozenSplit.of(self.slots, self.frozen, self.cos, self.sin, self.mask, self.past)

    def arguments(self, original: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments of a layer's call for all n tokens, made from those for the q tokens of the prefill."""
        return self.gather(original, self.indices) | {
            "attention_mask": self.mask,
            "position_embeddings": (self.cos, self.sin),
        }

    def gather(self, original: Mapping[str, Any], indices: torch.Tensor) -> dict[str, Any]:
        """A layer call's keyword arguments, those that have an entry for each token reduced to some of the tokens.

        Args:
            original: the arguments for all q tokens of the prefill.
            indices: (B, k) indices of the wanted tokens among the q, the same object in every call.
        """
        arguments = dict(original)
        if isinstance(arguments.get("position_ids"), torch.Tensor):
            arguments["position_ids"] = self._once(_gather_positions, arguments["position_ids"], indices)
        if isinstance(arguments.get("cache_position"), torch.Tensor):
            arguments["cache_position"] = self._once(_gather_cache_position, arguments["cache_position"], indices)
        return arguments

    def _once(self, gather: Any, table: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        key = id(table), id(indices)
        if key not in self._gathered:  # with both tensors, so that their ids are not given to others
            self._gathered[key] = gather(table, indices), table, indices
        return self._gathered[key][0]


@dataclass(frozen=True)
class LayerInput:
    """A batch as it enters a layer, n token slots in each of B rows."""

    hidden: torch.Tensor
    """(B, n, D) hidden states."""
    tables: LayerTables

    @property
    def slots(self) -> TokenSlots:
        """The tokens."""
        return self.tables.slots

    def last_slots(self) -> torch.Tensor:
        """(B, 1) slot index of each row's last real token, which predicts the answer."""
        indices = torch.arange(self.slots.length, device=self.hidden.device)
        return torch.where(self.slots.real, indices, 0).amax(1, keepdim=True)


def _gather_positions(positions: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """(B or 1, q) or (3 or 4, B or 1, q) position ids at the token indices (B, k)."""
    whole = positions.expand(*positions.shape[:-2], len(indices), positions.shape[-1])
    return whole.gather(-1, indices.expand(*positions.shape[:-2], *indices.shape))


def _gather_cache_position(positions: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """(q,) cache positions at the token indices (B, k) of the first row."""
    return positions.index_select(0, indices[0])
