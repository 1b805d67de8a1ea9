"""Triggers: which Whens of a plan have fired in which rows of one prefill."""

from collections.abc import Iterator, Sequence

import torch

from halfv_core.interventions import Selection, When
from halfv_core.rules import make_rule
from halfv_core.runtime.prompt_view import PromptView, Surroundings


class Triggers:
    """The Whens of a plan in one prefill of B rows. In each row, one waits for the one before it."""

    def __init__(self, whens: Sequence[When], rows: int) -> None:
        self._whens = [(when, make_rule(when.rule, when.options)) for when in whens]
        self._waiting = [0] * rows  # by row: the number of the When that is asked
        self._votes = [0] * rows  # by row: in how many layers its rule has held

    def may_fire(self, layer: int) -> bool:
        """Whether any row has a When that may prune at the input of a layer."""
        return any(self._asked(row, layer) for row in range(len(self._waiting)))

    def fire(self, around: Surroundings) -> Iterator[tuple[int, Selection, list[bool]]]:
        """Ask the rules about the layer that has just been passed; waits for the device once.

        Yields:
            The number of a When, what is to be kept, and in which of the rows its rule holds, if there are any.
        """
        counts = around.own().slots.visual_counts
        rows = [row for row, count in enumerate(counts) if count and self._asked(row, around.layer)]
        if not rows:
            return
        with torch.no_grad():
            held = [self._whens[self._waiting[row]][1].holds(PromptView(around, row)) for row in rows]
        fired: dict[int, list[bool]] = {}
        for row, holds in zip(rows, around.parts.ranks.agreed(torch.stack(held)).tolist(), strict=True):
            number = self._waiting[row]
            self._votes[row] += holds
            if holds and self._votes[row] >= self._whens[number][1].votes():
                fired.setdefault(number, [False] * len(counts))[row] = True
                self._waiting[row], self._votes[row] = number + 1, 0
        for number in sorted(fired):
            yield number, self._whens[number][0].then, fired[number]

    def _asked(self, row: int, layer: int) -> bool:
        number = self._waiting[row]
        return number < len(self._whens) and layer >= self._whens[number][0].from_layer
