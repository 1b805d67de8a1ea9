"""Choosing visual tokens at one layer, in each row of the batch, and merging the others into them."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence

from halfv_core.errors import UnsupportedError
from halfv_core.interventions import Keep, Selection
from halfv_core.merges import make_merge
from halfv_core.precision import not_finite, widened_norm
from halfv_core.runtime.attention import attention_scores
from halfv_core.runtime.prompt_view import PromptView, Surroundings
from halfv_core.runtime.token_slots import TokenSlots, gather_tokens
from halfv_core.selectors import Selector, ThresholdSelector, make_selector
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


class Choice(NamedTuple):
    """Which visual tokens of a batch are chosen, and which are not."""

    others: torch.Tensor
    """(B, n) bool: the slot holds a visual token that is not chosen."""
    counts: tuple[int, ...]
    """How many these are in each row."""
    chosen: dict[int, torch.Tensor]
    """By row, for those rows in which some tokens are chosen and some not: (k,) indices of the chosen ones among the
    row's visual tokens, in the selector's order."""
    anchors: dict[int, torch.Tensor]
    """By row, the (anchors,) positions of those that were chosen for their attention, in any order."""
    finite: list[Finite]
    """For `check_finite`."""


def choose(
    around: Surroundings, selection: Selection, whole_counts: Sequence[int], only: Sequence[bool] | None = None
) -> Choice | None:
    """Let a selector choose visual tokens, in all rows together and, if it can, without waiting for the device.

    Args:
        around: what is at hand.
        selection: how many tokens, and by which selector.
        whole_counts: visual tokens of each row at layer 0, of which the selection takes a share.
        only: the rows in which tokens are chosen; in the others all are. All rows by default.

    Returns:
        None if all tokens are chosen.
    """
    slots = around.own().slots
    current = slots.visual_counts
    asked = [True] * slots.rows if only is None else only
    numbers = [
        min(selection.count(whole), now) if is_asked else now
        for whole, now, is_asked in zip(whole_counts, current, asked, strict=True)
    ]
    selector = make_selector(selection.selector, selection.options)
    found: dict[int, torch.Tensor] = {}
    finite: list[Finite] = []
    if isinstance(selector, ThresholdSelector):
        for row in (row for row, now in enumerate(current) if now and asked[row]):
            view = PromptView(around, row)
            with torch.no_grad():
                found[row] = around.parts.ranks.agreed_value(selector.choose_any(view))
            numbers[row] = len(found[row])
            finite += _finite_of(around.layer, row, view)
    if numbers == list(current):
        return None
    rows = tuple(row for row, (count, now) in enumerate(zip(numbers, current, strict=True)) if 0 < count < now)
    others = _all_of(slots, [count < now for count, now in zip(numbers, current, strict=True)])
    counts = tuple(now - count for count, now in zip(numbers, current, strict=True))
    if not rows:
        return Choice(others, counts, {}, {}, finite)
    wanted, context = [numbers[row] for row in rows], _Context(around, rows)
    if isinstance(selector, Selector):
        with torch.no_grad():
            chosen = around.parts.ranks.agreed(selector.select(context, wanted))
    else:
        chosen = pad_sequence([found[row] for row in rows], batch_first=True)
    where = context.slots_of(_filled(chosen, wanted))  # (R, max(wanted))
    others = _without(others, where, rows)
    positions = _of_rows(slots.positions, rows).gather(1, where)
    decided = list(enumerate(zip(rows, wanted, strict=True)))
    anchors = {row: positions[i, : selector.anchors(count)] for i, (row, count) in decided}
    by_row = {row: chosen[i, :count] for i, (row, count) in decided}
    return Choice(others, counts, by_row, anchors, finite + context.all_finite())


def merge(around: Surroundings, keep: Keep, choice: Choice) -> tuple[Choice, torch.Tensor]:
    """Put what the other tokens hold into those that stay, as the Keep's merge says.

    Returns:
        The choice with the tokens that the merge adds to it, and the hidden states (B, n, D).
    """
    layer_input = around.own()
    if keep.merge is None or not choice.chosen:
        return choice, layer_input.hidden
    rule, slots, hidden = make_merge(keep.merge, keep.merge_options), layer_input.slots, layer_input.hidden.clone()
    others, counts, visual_slots = choice.others.clone(), list(choice.counts), slots.visual_slots()
    for row, chosen in choice.chosen.items():
        with torch.no_grad():
            merged = rule.merge(PromptView(around, row), chosen, len(choice.anchors[row]))
        where = visual_slots[row].gather(0, merged.chosen)
        hidden[row, where] = merged.states.to(hidden.dtype)
        others[row] = slots.visual[row].index_fill(0, where, False)
        counts[row] = slots.visual_counts[row] - len(merged.chosen)
    return choice._replace(others=others, counts=tuple(counts)), hidden


def check_finite(found: Sequence[Finite], dtype: torch.dtype) -> None:
    """Refuse choices that were made by numbers that are NaN or infinite; waits for the device once.

    Args:
        found: of the prunings of a prefill.
        dtype: of the hidden states.

    Raises:
        UnsupportedError: numbers by which tokens were ranked are NaN or infinite.
    """
    if not found:
        return
    device = found[0].flags.device
    flags = torch.cat([one.flags.to(device, non_blocking=True) for one in found]).tolist()
    ranked = [(one, row) for one in found for row in one.rows]
    for (one, row), is_finite in zip(ranked, flags, strict=True):
        if not is_finite:
            what = f"visual tokens cannot be ranked at layer {one.layer}, because their {one.what} are not finite"
            raise not_finite(what, f"NaN or infinite values in row {row}", dtype)


class _Context:
    """What a selector may look at in some rows of the batch; see `SelectionContext`."""

    def __init__(self, around: Surroundings, rows: tuple[int, ...]) -> None:
        layer_input = around.own()
        slots = layer_input.slots
        self.visual_counts = tuple(slots.visual_counts[row] for row in rows)
        self.device = layer_input.hidden.device
        self.finite: list[Finite] = []
        self._around = around
        self._parts = around.parts
        self._layer = around.layer
        self._hidden = layer_input.hidden
        self._rows = rows
        self._slots = _of_rows(slots.visual_slots(), rows)[:, : max(self.visual_counts)]  # (R, V)
        self._padding = padding_of(self.visual_counts, self.device)
        self._views: list[PromptView] = []

    def all_finite(self) -> list[Finite]:
        """Of everything that was looked at."""
        views = zip(self._views, self._rows, strict=False)  # nobody has asked for them, perhaps
        return self.finite + [one for view, row in views for one in _finite_of(self._layer, row, view)]

    def slots_of(self, chosen: torch.Tensor) -> torch.Tensor:
        """(R, k) indices into the visual tokens -> (R, k) slot indices."""
        return self._slots.gather(1, chosen)

    def prompts(self) -> list[PromptView]:
        self._views = [PromptView(self._around, row) for row in self._rows]
        return self._views

    def attention_scores(self, scoring: Scoring, rope: bool) -> torch.Tensor:
        layer = self._parts.layers[self._around.previous_layer]
        if self._hidden.shape[0] > 1 and has_adapters_by_row(layer.self_attn):
            raise UnsupportedError(
                "tokens cannot be ranked by attention in a batch whose rows have different adapters",
                got=f"adapter_names= for {self._hidden.shape[0]} rows",
                remedy="pass the rows of each adapter in a batch of their own, after model.set_adapter(name)",
            )
        assert self._around.previous is not None, "a plan is refused that scores tokens where they are not"
        scores = attention_scores(self._parts, layer, self._around.previous, scoring, rope)  # (B, n)
        scores = scores.to(self.device)
        if self._around.back is not None:
            scores = scores.gather(1, self._around.back)
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


def _finite_of(layer: int, row: int, view: PromptView) -> list[Finite]:
    return [Finite(layer, what, (row,), flag[None]) for what, flag in view.finite]


def _of_rows(table: torch.Tensor, rows: tuple[int, ...]) -> torch.Tensor:
    """Some rows of a (B, ...) tensor, (R, ...)."""
    if len(rows) == len(table):
        return table
    return table.index_select(0, torch.tensor(rows).to(table.device, non_blocking=True))


def _all_of(slots: TokenSlots, rows: Sequence[bool]) -> torch.Tensor:
    """(B, n) bool: the visual tokens of these rows."""
    if all(rows):
        return slots.visual
    return slots.visual & torch.tensor(rows).to(slots.visual.device, non_blocking=True)[:, None]


def _filled(chosen: torch.Tensor, counts: Sequence[int]) -> torch.Tensor:
    """(R, k) indices, of which the first counts[r] count; the others are replaced by the row's first."""
    surplus = padding_of(counts, chosen.device)
    return chosen if surplus is None else torch.where(surplus, chosen[:, :1], chosen)


def _without(others: torch.Tensor, chosen: torch.Tensor, rows: tuple[int, ...]) -> torch.Tensor:
    """Take the chosen slots, (R, k) in each of `rows`, out of the others, (B, n) bool."""
    if len(rows) == len(others):
        return others.scatter(1, chosen, False)
    indices = torch.tensor(rows).to(others.device, non_blocking=True)
    return others.index_copy(0, indices, others.index_select(0, indices).scatter(1, chosen, False))
