"""Pruning at one layer: a selector chooses the visual tokens of each row that stay, and the others leave the batch."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

from halfv_core.errors import UnsupportedError
from halfv_core.families.base import Parts
from halfv_core.placement import parts_callable
from halfv_core.plan import Keep
from halfv_core.precision import not_finite, widened_norm
from halfv_core.runtime.attention import attention_scores
from halfv_core.runtime.layer_input import LayerInput
from halfv_core.runtime.token_slots import TokenSlots, gather_tokens
from halfv_core.selectors import make_selector
from halfv_core.selectors.base import Scoring, padding_of
from halfv_core.wrappers import has_adapters_by_row


class Finite(NamedTuple):
    """Whether the numbers by which tokens were ranked are finite."""

    layer: int
    """Of the Keep."""
    what: str
    rows: tuple[int, ...]
    """The rows of the batch that were ranked, R of them."""
    flags: torch.Tensor
    """(R,) bool, on the device."""


class Pruned(NamedTuple):
    """What a pruning leaves."""

    hidden: torch.Tensor
    """(B, n', D) hidden states of the remaining tokens."""
    slots: TokenSlots
    """The remaining tokens, n' slots in each row."""
    anchors: dict[int, torch.Tensor]
    """By row, the (anchors,) positions of the kept tokens that were chosen for their attention, in any order."""
    finite: list[Finite]
    """For `check_finite`."""


def prune(
    parts: Parts,
    keep: Keep,
    previous: LayerInput,
    slots: TokenSlots,
    hidden: torch.Tensor,
    original_counts: Sequence[int],
) -> Pruned:
    """Carry out a Keep, in all rows together and without waiting for the device.

    Args:
        parts: of the model.
        keep: the intervention, at the layer that `hidden` is about to enter.
        previous: the input of the layer before, where attention is scored.
        slots: the tokens of `hidden`, on its device.
        hidden: (B, n, D), the output of the layer before.
        original_counts: visual tokens of each row at layer 0, of which the Keep keeps some.
    """
    current = slots.visual_counts
    counts = [min(keep.count(original), now) for original, now in zip(original_counts, current, strict=True)]
    pruned_counts = [now - count for count, now in zip(counts, current, strict=True)]
    if not any(pruned_counts):
        return Pruned(hidden, slots, {}, [])
    pruned = slots.visual
    if not all(pruned_counts):
        whole = torch.tensor(pruned_counts).to(hidden.device, non_blocking=True)[:, None] == 0
        pruned = pruned & ~whole
    anchors: dict[int, torch.Tensor] = {}
    finite: list[Finite] = []
    rows = tuple(row for row, (count, now) in enumerate(zip(counts, current, strict=True)) if 0 < count < now)
    if rows:
        selector, wanted = make_selector(keep.selector, keep.options), [counts[row] for row in rows]
        context = _Context(parts, keep.layer, previous, slots, hidden, rows)
        with torch.no_grad():
            selected = parts.ranks.agreed(selector.select(context, wanted))
        chosen = context.slots_of(_filled(selected, wanted))  # (R, max(wanted))
        finite = context.finite
        pruned = _without_chosen(pruned, chosen, rows)
        positions = _of_rows(slots.positions, rows).gather(1, chosen)
        numbers = [selector.anchors(count) for count in wanted]
        anchors = {
            row: positions[i, :number] for i, (row, number) in enumerate(zip(rows, numbers, strict=True)) if number
        }
    slots, remaining = slots.without(pruned, pruned_counts)
    return Pruned(gather_tokens(hidden, remaining), slots, anchors, finite)


def check_finite(found: Sequence[Finite], dtype: torch.dtype) -> None:
    """Refuse choices that were made by numbers that are NaN or infinite; waits for each device once.

    Args:
        found: of the prunings of a prefill.
        dtype: of the hidden states.

    Raises:
        UnsupportedError: numbers by which tokens were ranked are NaN or infinite.
    """
    for one in found:
        for row, is_finite in zip(one.rows, one.flags.tolist(), strict=True):
            if not is_finite:
                what = f"visual tokens cannot be ranked at layer {one.layer}, because their {one.what} are not finite"
                raise not_finite(what, f"NaN or infinite values in row {row}", dtype)


class _Context:
    """What a selector may look at in some rows of the batch; see `SelectionContext`."""

    def __init__(
        self,
        parts: Parts,
        layer: int,
        previous: LayerInput,
        slots: TokenSlots,
        hidden: torch.Tensor,
        rows: tuple[int, ...],
    ) -> None:
        self.visual_counts = tuple(slots.visual_counts[row] for row in rows)
        self.device = hidden.device
        self.finite: list[Finite] = []
        self._parts = parts
        self._layer = layer
        self._previous = previous
        self._hidden = hidden
        self._rows = rows
        self._slots = _of_rows(slots.visual_slots(), rows)[:, : max(self.visual_counts)]  # (R, V)
        self._padding = padding_of(self.visual_counts, hidden.device)

    def slots_of(self, chosen: torch.Tensor) -> torch.Tensor:
        """(R, k) indices into the visual tokens -> (R, k) slot indices."""
        return self._slots.gather(1, chosen)

    def attention_scores(self, scoring: Scoring, rope: bool) -> torch.Tensor:
        layer = self._parts.layers[self._layer - 1]
        if self._hidden.shape[0] > 1 and has_adapters_by_row(layer.self_attn):
            raise UnsupportedError(
                "tokens cannot be ranked by attention in a batch whose rows have different adapters",
                got=f"adapter_names= for {self._hidden.shape[0]} rows",
                remedy="pass the rows of each adapter in a batch of their own, after model.set_adapter(name)",
            )
        with parts_callable(layer):
            scores = attention_scores(self._parts, layer, self._previous, scoring, rope).to(self.device)  # (B, n)
        scores = _of_rows(scores, self._rows).gather(1, self._slots)  # (R, V)
        if self._padding is not None:
            scores = scores.masked_fill(self._padding, 0.0)
        self._note("attention scores", scores)
        return scores if self._padding is None else scores.masked_fill(self._padding, -torch.inf)

    def normed_hidden(self) -> torch.Tensor:
        states = gather_tokens(_of_rows(self._hidden, self._rows), self._slots)
        normed = widened_norm(self._parts.norm, states).to(self.device)  # the norm may be on another device
        self._note("hidden states", normed)
        return normed

    def _note(self, what: str, numbers: torch.Tensor) -> None:
        self.finite.append(Finite(self._layer, what, self._rows, numbers.isfinite().flatten(1).all(1)))


def _of_rows(table: torch.Tensor, rows: tuple[int, ...]) -> torch.Tensor:
    """Some rows of a (B, ...) tensor, (R, ...)."""
    if len(rows) == len(table):
        return table
    return table.index_select(0, torch.tensor(rows).to(table.device, non_blocking=True))


def _filled(chosen: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """(R, k) indices, of which the first counts[r] count; the others are replaced by the row's first."""
    surplus = padding_of(counts, chosen.device)
    return chosen if surplus is None else torch.where(surplus, chosen[:, :1], chosen)


def _without_chosen(pruned: torch.Tensor, chosen: torch.Tensor, rows: tuple[int, ...]) -> torch.Tensor:
    """Take the chosen slots, (R, k) in each of `rows`, out of those that are pruned, (B, n) bool."""
    if len(rows) == len(pruned):
        return pruned.scatter(1, chosen, False)
    indices = torch.tensor(rows).to(pruned.device, non_blocking=True)
    return pruned.index_copy(0, indices, pruned.index_select(0, indices).scatter(1, chosen, False))
