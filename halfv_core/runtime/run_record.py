"""RunRecord: what was kept of one prompt, what went through each layer for it, and what that cost."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

import torch

from halfv_core.cost import Cost, DecoderShape, LayerTokens, cost_of
from halfv_core.plan import Plan
from halfv_core.runtime.token_slots import TokenSlots

_ZERO = Cost(0, 0, 0, 0, 0, 0, 0, 0)


class RunRecord:
    """The record of one batch, from its first prefill to its last generated token."""

    def __init__(self, plan: Plan, layers: int, rows: int) -> None:
        self.prompt = uuid4()
        """Names the prompt; copies of its cache have records of their own, with the same name."""
        self.rows = rows
        """Rows of the batch, B."""
        self.kept = {keep.layer: [torch.empty(0, dtype=torch.long)] * rows for keep in plan.keeps}
        """By layer of each Keep, and by batch row: (kept,) ascending positions of the visual tokens kept there."""
        self.anchors = {keep.layer: [torch.empty(0, dtype=torch.long)] * rows for keep in plan.keeps}
        """Likewise, but only the tokens that were chosen for their attention, in any order."""
        self._tokens: list[list[LayerTokens]] = [[] for _ in range(layers)]  # by layer, then by row
        self._new_tokens = 0
        self._earlier: list[tuple[list[list[LayerTokens]], int]] = []  # the two above, of earlier prefills

    def add_kept(self, layer: int, slots: TokenSlots) -> None:
        """Record the visual tokens that remained after the Keep at `layer`."""
        positions = slots.positions.gather(1, slots.visual_slots())  # (B, V)
        for row, count in enumerate(slots.visual_counts):
            self.kept[layer][row] = _joined(self.kept[layer][row], positions[row, :count])

    def add_anchors(self, layer: int, row: int, positions: torch.Tensor) -> None:
        """Record the positions of a row's tokens that the Keep at `layer` chose for their attention."""
        self.anchors[layer][row] = _joined(self.anchors[layer][row], positions)

    def add_layer(self, layer: int, slots: TokenSlots, frozen: bool, cached: int) -> None:
        """Record the tokens that enter a layer.

        Args:
            layer: decoder layer, counted from 0.
            slots: the tokens.
            frozen: whether visual tokens among them are keys and values only.
            cached: number of earlier tokens in the layer's cache.
        """
        self._tokens[layer] += [
            LayerTokens(visual, real - visual, frozen and visual > 0, cached)
            for visual, real in zip(slots.visual_counts, slots.real_counts, strict=True)
        ]

    def add_text_prompt(self, length: int, past: int) -> None:
        """Record a prompt without visual tokens, which goes through every layer unchanged, after `past` cached ones."""
        self._tokens = [[LayerTokens(0, length, False, past)] * self.rows] * len(self._tokens)

    def add_new_tokens(self, count: int) -> None:
        """Record text tokens that followed a prefill, one after the other or together."""
        self._new_tokens += count

    def select_rows(self, indices: Sequence[int]) -> None:
        """Replace the rows of the batch by some of them; a row that comes twice counts twice."""
        self.rows = len(indices)
        for found in (self.kept, self.anchors):
            for layer, rows in found.items():
                found[layer] = [rows[index] for index in indices]
        self._tokens = _select_rows(self._tokens, indices)
        self._earlier = [(_select_rows(tokens, indices), new_tokens) for tokens, new_tokens in self._earlier]

    def start_prefill(self) -> None:
        """Close the account of the latest prefill, because another one with visual tokens follows in the same cache."""
        if any(self._tokens):
            self._earlier.append((self._tokens, self._new_tokens))
        self._tokens, self._new_tokens = [[] for _ in self._tokens], 0

    def cost(self, shape: DecoderShape) -> Cost:
        """Cost of all prefills and generated tokens; cache bytes are those at the end."""
        earlier = [replace(_cost(shape, *prefill), kv_bytes=0, kv_bytes_full=0) for prefill in self._earlier]
        return sum(earlier, start=_cost(shape, self._tokens, self._new_tokens))


def _joined(earlier: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
    return torch.cat([earlier.to(positions.device), positions]) if len(earlier) else positions


def _select_rows(tokens: list[list[LayerTokens]], indices: Sequence[int]) -> list[list[LayerTokens]]:
    return [[rows[index] for index in indices] if rows else [] for rows in tokens]


def _cost(shape: DecoderShape, tokens: list[list[LayerTokens]], new_tokens: int) -> Cost:
    return sum((cost_of(shape, row, new_tokens) for row in zip(*tokens, strict=True)), start=_ZERO)
