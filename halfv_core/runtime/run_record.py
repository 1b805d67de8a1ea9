"""RunRecord: what one prompt kept, what went through each layer for it, and what that cost."""

from dataclasses import replace

import torch

from halfv_core.cost import Cost, DecoderShape, LayerTokens, cost_of
from halfv_core.plan import Plan
from halfv_core.runtime.token_slots import TokenSlots

_FREE = Cost(0, 0, 0, 0, 0, 0, 0, 0)


class RunRecord:
    """The account of one batch, from its first turn to its last token."""

    def __init__(self, plan: Plan, layers: int, rows: int) -> None:
        self.kept = {keep.layer: [torch.empty(0, dtype=torch.long)] * rows for keep in plan.keeps}
        """By layer of each Keep: for each batch row the (kept,) ascending positions of the visual tokens kept there."""
        self.anchors = {keep.layer: [torch.empty(0, dtype=torch.long)] * rows for keep in plan.keeps}
        """Likewise, of those that attention chose, in any order."""
        self._tokens: list[list[LayerTokens]] = [[] for _ in range(layers)]
        self._new_tokens = 0
        self._earlier: list[tuple[list[list[LayerTokens]], int]] = []

    def keep(self, layer: int, slots: TokenSlots) -> None:
        """Note the visual tokens that the Keep at `layer` left in flight."""
        for row, earlier in enumerate(self.kept[layer]):
            found = slots.positions[row].index_select(0, slots.visual_slots(row))
            self.kept[layer][row] = torch.cat([earlier.to(found.device), found])

    def anchor(self, layer: int, row: int, positions: torch.Tensor) -> None:
        """Note which tokens of a row attention chose for the Keep at `layer`."""
        self.anchors[layer][row] = torch.cat([self.anchors[layer][row].to(positions.device), positions])

    def enter(self, layer: int, slots: TokenSlots, frozen: bool, cached: int) -> None:
        """Note the tokens that go into a layer, `cached` others being in its cache."""
        self._tokens[layer] += [
            LayerTokens(visual, living - visual, frozen and visual > 0, cached)
            for visual, living in zip(slots.visual_counts, slots.living_counts, strict=True)
        ]

    def text_prompt(self, rows: int, length: int) -> None:
        """Note a prompt without visual tokens, which no layer sees cut."""
        self._tokens = [[LayerTokens(0, length, False)] * rows] * len(self._tokens)

    def decode(self, new: int) -> None:
        """Note tokens of text that came after the prompt."""
        self._new_tokens += new

    def next_turn(self) -> None:
        """Another turn with visual tokens begins."""
        self._earlier.append((self._tokens, self._new_tokens))
        self._tokens, self._new_tokens = [[] for _ in self._tokens], 0

    def cost(self, shape: DecoderShape) -> Cost:
        """Of all turns and of what was generated; the cache is counted as it is at the end."""
        earlier = [replace(_cost(shape, *turn), kv_bytes=0, kv_bytes_full=0) for turn in self._earlier]
        return sum(earlier, start=_cost(shape, self._tokens, self._new_tokens))


def _cost(shape: DecoderShape, tokens: list[list[LayerTokens]], new_tokens: int) -> Cost:
    return sum((cost_of(shape, row, new_tokens) for row in zip(*tokens, strict=True)), start=_FREE)
