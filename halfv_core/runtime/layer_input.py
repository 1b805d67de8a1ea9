"""LayerInput: the tensors of one decoder layer's call for the tokens in flight."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from halfv_core.runtime.token_slots import TokenSlots


@dataclass(frozen=True)
class LayerInput:
    """A batch on its way into a layer, n slots in each of B rows."""

    hidden: torch.Tensor
    """(B, n, D) states."""
    cos: torch.Tensor
    """(B or 1, n, head_dim) rotary cosines, of the original positions."""
    sin: torch.Tensor
    """(B or 1, n, head_dim)."""
    mask: torch.Tensor | None
    """(B or 1, 1, n, m), bool (true: visible) or additive; the last n of the m keys are these tokens'. None stands for
    plain causality. (B, m) under FlashAttention, true at keys that count."""
    slots: TokenSlots
    past: int
    """Tokens of the sequence before this turn."""

    def row(self, index: int) -> "LayerInput":
        """One row alone, all its slots."""
        slots, one = self.slots, slice(index, index + 1)

        def own(table: torch.Tensor) -> torch.Tensor:
            return table if table.shape[0] == 1 else table[one]

        return LayerInput(
            hidden=self.hidden[one],
            cos=own(self.cos),
            sin=own(self.sin),
            mask=None if self.mask is None else own(self.mask),
            slots=replace(
                slots,
                positions=slots.positions[one],
                visual=slots.visual[one],
                living=slots.living[one],
                visual_counts=slots.visual_counts[one],
                living_counts=slots.living_counts[one],
            ),
            past=self.past,
        )

    def last(self) -> torch.Tensor:
        """(B, 1) slot of each row's last living token, which predicts the answer."""
        slots = torch.arange(self.slots.count, device=self.hidden.device)
        return torch.where(self.slots.living, slots, 0).amax(1, keepdim=True)

    def call_arguments(self, original: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments of the layer call for these tokens, from those of the whole turn."""
        return arguments_for(original, self.slots.positions - self.past) | {
            "attention_mask": self.mask,
            "position_embeddings": (self.cos, self.sin),
        }


def arguments_for(original: Mapping[str, Any], indices: torch.Tensor) -> dict[str, Any]:
    """Per-token arguments that families pass on, cut to the tokens at `indices` (B, k) of the turn."""
    arguments = dict(original)
    positions = arguments.get("position_ids")
    if isinstance(positions, torch.Tensor):  # (B or 1, q), or (3 or 4, B or 1, q)
        shape = (*positions.shape[:-2], *indices.shape)
        whole = positions.expand(*positions.shape[:-2], len(indices), positions.shape[-1])
        arguments["position_ids"] = whole.gather(-1, indices.expand(shape))
    if isinstance(arguments.get("cache_position"), torch.Tensor):
        arguments["cache_position"] = arguments["cache_position"].index_select(0, indices[0])
    return arguments


def pick(states: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """(B or 1, n, D) at the slots `indices` (B, k) -> (B, k, D)."""
    whole = states.expand(len(indices), *states.shape[1:])
    return whole.gather(1, indices[..., None].expand(-1, -1, states.shape[2]))
