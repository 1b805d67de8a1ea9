"""Pruning at one layer: a selector chooses the visual tokens of each row that stay, and the others leave the batch."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from halfv_core.families.base import Parts
from halfv_core.plan import Keep
from halfv_core.precision import not_finite, widened_norm
from halfv_core.runtime.attention import attention_scores
from halfv_core.runtime.layer_input import LayerInput, gather_tokens
from halfv_core.runtime.token_slots import TokenSlots
from halfv_core.selectors import make_selector
from halfv_core.selectors.base import Scoring


class Pruned(NamedTuple):
    """What a pruning leaves."""

    hidden: torch.Tensor
    """(B, n', D) hidden states of the remaining tokens."""
    slots: TokenSlots
    """The remaining tokens, n' slots in each row."""
    anchors: dict[int, torch.Tensor]
    """By row, the (anchors,) positions of the kept tokens that were chosen for their attention, in any order."""


def prune(
    parts: Parts,
    keep: Keep,
    previous: LayerInput,
    slots: TokenSlots,
    hidden: torch.Tensor,
    original_counts: Sequence[int],
) -> Pruned:
    """Carry out a Keep.

    Args:
        parts: of the model.
        keep: the intervention, at the layer that `hidden` is about to enter.
        previous: the input of the layer before, where attention is scored.
        slots: the tokens of `hidden`, on its device.
        hidden: (B, n, D), the output of the layer before.
        original_counts: visual tokens of each row at layer 0, of which `keep.keep_ratio` is a share.

    Raises:
        UnsupportedError: numbers by which tokens should be ranked are NaN or infinite.
    """
    selector = make_selector(keep.selector, keep.options)
    counts = [
        min(keep.count(original), current)
        for original, current in zip(original_counts, slots.visual_counts, strict=True)
    ]
    pruned = torch.zeros_like(slots.visual)
    anchors: dict[int, torch.Tensor] = {}
    readings: list[_Reading] = []
    for row, (count, current) in enumerate(zip(counts, slots.visual_counts, strict=True)):
        if count == current:
            continue
        visual = slots.visual_slots(row)  # (current,)
        if count == 0:
            chosen = torch.empty(0, dtype=torch.long, device=hidden.device)
        else:
            with torch.no_grad():
                chosen = selector.select(_RowContext(parts, keep.layer, previous, hidden, row, readings), count)
            chosen = parts.ranks.agreed(chosen)
            if selector.anchors(count):
                anchor_slots = visual.index_select(0, chosen[: selector.anchors(count)])
                anchors[row] = slots.positions[row].index_select(0, anchor_slots)
        not_chosen = torch.ones(current, dtype=torch.bool, device=hidden.device).index_fill(0, chosen, False)
        pruned[row] = pruned[row].index_put((visual,), not_chosen)
    _check_finite(readings, keep.layer, hidden.dtype)
    pruned_counts = [current - count for count, current in zip(counts, slots.visual_counts, strict=True)]
    if any(pruned_counts):
        slots, remaining = slots.without(pruned, pruned_counts)
        hidden = gather_tokens(hidden, remaining)
    return Pruned(hidden, slots, anchors)


class _Reading(NamedTuple):
    """Numbers that a selector was given."""

    what: str
    row: int
    finite: torch.Tensor
    """() bool, on the device: whether all of them are."""


class _RowContext:
    """What a selector may look at in one row; see `SelectionContext`."""

    def __init__(
        self,
        parts: Parts,
        layer: int,
        previous: LayerInput,
        hidden: torch.Tensor,
        row: int,
        readings: list[_Reading],
    ) -> None:
        self._parts = parts
        self._layer = layer
        self._previous = previous
        self._hidden = hidden
        self._row = row
        self._readings = readings

    @property
    def visual_count(self) -> int:
        return self._previous.slots.visual_counts[self._row]

    @property
    def device(self) -> torch.device:
        return self._hidden.device

    def attention_scores(self, scoring: Scoring, rope: bool) -> torch.Tensor:
        layer = self._parts.layers[self._layer - 1]
        scores = attention_scores(self._parts, layer, self._previous, self._row, scoring, rope).to(self.device)
        return self._noted("attention scores", scores)

    def normed_hidden(self) -> torch.Tensor:
        visual = self._previous.slots.visual_slots(self._row).to(self.device)
        states = self._hidden[self._row].index_select(0, visual)
        return self._noted("hidden states", widened_norm(self._parts.norm, states))

    def _noted(self, what: str, numbers: torch.Tensor) -> torch.Tensor:
        self._readings.append(_Reading(what, self._row, numbers.isfinite().all()))
        return numbers


def _check_finite(readings: Sequence[_Reading], layer: int, dtype: torch.dtype) -> None:
    """Refuse a choice that was made by numbers that are NaN or infinite; waits for the device once, for all rows."""
    if not readings:
        return
    for reading, finite in zip(readings, torch.stack([one.finite for one in readings]).tolist(), strict=True):
        if not finite:
            what = f"visual tokens cannot be ranked at layer {layer}, because their {reading.what} are not finite"
            raise not_finite(what, f"NaN or infinite values in row {reading.row}", dtype)
