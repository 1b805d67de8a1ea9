"""LayerInput: the tensors of one decoder layer's call, for the tokens that are still in the decoder."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from halfv_core.runtime.token_slots import TokenSlots


@dataclass(frozen=True)
class LayerInput:
    """A batch as it enters a layer, n token slots in each of B rows."""

    hidden: torch.Tensor
    """(B, n, D) hidden states."""
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

    def row(self, index: int) -> "LayerInput":
        """One row of the batch, with all its slots, padding slots included."""
        slots, one = self.slots, slice(index, index + 1)

        def of_row(table: torch.Tensor) -> torch.Tensor:
            return table if table.shape[0] == 1 else table[one]

        return LayerInput(
            hidden=self.hidden[one],
            cos=of_row(self.cos),
            sin=of_row(self.sin),
            mask=None if self.mask is None else of_row(self.mask),
            slots=replace(
                slots,
                positions=slots.positions[one],
                visual=slots.visual[one],
                real=slots.real[one],
                visual_counts=slots.visual_counts[one],
                real_counts=slots.real_counts[one],
            ),
            past=self.past,
        )

    def last_slots(self) -> torch.Tensor:
        """(B, 1) slot index of each row's last real token, which predicts the answer."""
        indices = torch.arange(self.slots.length, device=self.hidden.device)
        return torch.where(self.slots.real, indices, 0).amax(1, keepdim=True)

    def layer_arguments(self, original: Mapping[str, Any]) -> dict[str, Any]:
        """Keyword arguments of the layer call for these tokens, made from those for all tokens of the prefill."""
        return gather_arguments(original, self.slots.positions - self.past) | {
            "attention_mask": self.mask,
            "position_embeddings": (self.cos, self.sin),
        }


def gather_arguments(original: Mapping[str, Any], indices: torch.Tensor) -> dict[str, Any]:
    """A layer call's keyword arguments, those that have an entry for each token reduced to some of the tokens.

    Args:
        original: the arguments for all q tokens of the prefill.
        indices: (B, k) indices of the wanted tokens among the q.
    """
    arguments = dict(original)
    positions = arguments.get("position_ids")
    if isinstance(positions, torch.Tensor):  # (B or 1, q), or (3 or 4, B or 1, q)
        shape = (*positions.shape[:-2], *indices.shape)
        whole = positions.expand(*positions.shape[:-2], len(indices), positions.shape[-1])
        arguments["position_ids"] = whole.gather(-1, indices.expand(shape))
    if isinstance(arguments.get("cache_position"), torch.Tensor):
        arguments["cache_position"] = arguments["cache_position"].index_select(0, indices[0])
    return arguments


def gather_tokens(states: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """(B or 1, n, D) states at the token indices (B, k) -> (B, k, D)."""
    whole = states.expand(len(indices), *states.shape[1:])
    return whole.gather(1, indices[..., None].expand(-1, -1, states.shape[2]))
