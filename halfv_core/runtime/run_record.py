"""RunRecord: what was kept of one prompt, what went through each layer for it, and what that cost."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple
from uuid import uuid4

import torch

from halfv_core.cost import Cost, DecoderShape, LayerTokens, cost_of
from halfv_core.plan import Plan
from halfv_core.runtime.token_slots import TokenSlots

_ZERO = Cost(0, 0, 0, 0, 0, 0, 0, 0)


class PastTokens(NamedTuple):
    """Tokens of the sequence before a prefill."""

    all: int
    cached: int
    """Entries in the cache of one layer."""


class RunRecord:
    """The record of one batch, from its first prefill to its last generated token."""

    def __init__(self, plan: Plan, layers: int, rows: int) -> None:
        self.prompt = uuid4()
        """Names the prompt; copies of its cache have records of their own, with the same name."""
        self.rows = rows
        """Rows of the batch, B."""
        self.kept = {keep.layer: self._nothing() for keep in plan.keeps}
        """By layer of each Keep, and wherever else tokens were chosen, and by batch row: (kept,) ascending positions of
        the visual tokens that stayed."""
        self.anchors = {keep.layer: self._nothing() for keep in plan.keeps}
        """Likewise, but only the tokens that were chosen for their attention, in any order."""
        self.exempt: dict[int, list[torch.Tensor]] = {}
        """By first layer of each run of layers that a Freeze or a Hide does not apply to all tokens in, and by batch
        row: (k,) ascending positions of the tokens that are updated, or stay, all the same."""
        self.fired: list[list[int | None]] = [[None] * rows for _ in plan.whens]
        """For each When, by batch row: the layer at whose input its rule pruned tokens; None where it never held."""
        self._tokens: list[list[LayerTokens]] = [[] for _ in range(layers)]  # by layer, then by row
        self._new_tokens = 0
        self._earlier: list[tuple[list[list[LayerTokens]], int]] = []  # the two above, of earlier prefills

    def add_kept(self, layer: int, slots: TokenSlots, rows: Sequence[int] | None = None) -> None:
        """Record the visual tokens that an intervention at `layer` has left in these rows, by default in all."""
        kept = self.kept.setdefault(layer, self._nothing())
        self._add_positions(kept, slots, range(self.rows) if rows is None else rows)

    def add_anchors(self, layer: int, row: int, positions: torch.Tensor) -> None:
        """Record the positions of a row's tokens that the intervention at `layer` chose for their attention."""
        anchors = self.anchors.setdefault(layer, self._nothing())
        anchors[row] = _joined(anchors[row], positions)

    def add_layer(
        self, layer: int, slots: TokenSlots, whole: TokenSlots, frozen: Sequence[int], past: PastTokens
    ) -> None:
        """Record the tokens that enter a layer.

        Args:
            layer: decoder layer, counted from 0.
            slots: the tokens.
            whole: all tokens of the prefill.
            frozen: for each row, how many of the visual tokens are keys and values only.
            past: tokens of the sequence before the prefill.
        """
        missing = past.all - past.cached
        counts = zip(slots.visual_counts, slots.real_counts, whole.visual_counts, frozen, strict=True)
        self._tokens[layer] += [
            LayerTokens(visual, real - visual, still, past.cached, absent=all_visual - visual, past_absent=missing)
            for visual, real, all_visual, still in counts
        ]

    def add_fired(self, number: int, layer: int, rows: Sequence[bool]) -> None:
        """Record that a When, the plan's `number`-th, pruned at the input of `layer` in these rows."""
        self.fired[number] = [
            layer if is_fired else before for before, is_fired in zip(self.fired[number], rows, strict=True)
        ]

    def add_exempt(self, layer: int, slots: TokenSlots) -> None:
        """Record the visual tokens that a Freeze or a Hide leaves alone, from `layer` on: those in `slots`."""
        self._add_positions(self.exempt.setdefault(layer, self._nothing()), slots, range(self.rows))

    def take_out(self, layer: int, counts: Sequence[int]) -> None:
        """Record that so many visual tokens of the latest prefill have left a layer's cache, in each row."""
        rows = zip(self._tokens[layer], counts, strict=True)
        self._tokens[layer] = [tokens._replace(uncached=count) for tokens, count in rows]

    def add_text_prompt(self, length: int, past: int) -> None:
        """Record a prompt without visual tokens, which goes through every layer unchanged, after `past` cached ones."""
        self._tokens = [[LayerTokens(0, length, past=past)] * self.rows] * len(self._tokens)

    def add_new_tokens(self, count: int) -> None:
        """Record text tokens that followed a prefill, one after the other or together."""
        self._new_tokens += count

    def select_rows(self, indices: Sequence[int]) -> None:
        """Replace the rows of the batch by some of them; a row that comes twice counts twice."""
        self.rows = len(indices)
        for found in (self.kept, self.anchors, self.exempt):
            for layer, rows in found.items():
                found[layer] = [rows[index] for index in indices]
        self.fired = [[rows[index] for index in indices] for rows in self.fired]
        self._tokens = _select_rows(self._tokens, indices)
        self._earlier = [(_select_rows(tokens, indices), new_tokens) for tokens, new_tokens in self._earlier]

    def _add_positions(self, found: list[torch.Tensor], slots: TokenSlots, rows: Iterable[int]) -> None:
        positions = slots.positions.gather(1, slots.visual_slots())  # (B, V)
        for row in rows:
            found[row] = _joined(found[row], positions[row, : slots.visual_counts[row]])

    def _nothing(self) -> list[torch.Tensor]:
        return [torch.empty(0, dtype=torch.long)] * self.rows

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
