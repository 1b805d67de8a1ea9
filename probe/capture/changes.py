"""Changes: what a variant of a prompt's run does differently, by layer, and which tokens that can reach."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

from probe.capture.layer_calls import LayerCalls


class Change(NamedTuple):
    """What is different in one layer. All masks are (N,) bool."""

    unseen: tuple[torch.Tensor, torch.Tensor] | None = None
    """Rows and columns: in this layer, the tokens `rows` do not see the tokens `columns`. All must see some token."""
    head_off: tuple[torch.Tensor, int] | None = None
    """Rows and a query head, whose output is zero there."""
    put: tuple[torch.Tensor, torch.Tensor | Callable[[], torch.Tensor]] | None = None
    """Rows and (N, D) hidden states, or what gives them, which take the place of the layer's input at these rows."""

    @property
    def rows(self) -> torch.Tensor:
        """(N,) bool: the tokens that are changed directly."""
        masks = [part[0].cpu() for part in self if part is not None]
        return torch.stack(masks).any(0)


Variant = Mapping[int, Change]
"""By layer: what is different there. The layer L stands for the output of the last layer, which can only be `put`."""


def changed_rows(calls: LayerCalls, variants: Sequence[Variant]) -> torch.Tensor:
    """(N,) bool, on the CPU: the tokens that are changed in some variant, and all that see one of them, also by others.

    Args:
        calls: the run that they are variants of.
        variants: at least one, each of at least one change.
    """
    seen = calls.seen(0).cpu()  # through a sliding window, step by step, all that the other layers see
    changes = {id(change): change for variant in variants for change in variant.values()}
    rows = torch.stack([change.rows for change in changes.values()]).any(0)
    while True:
        more = rows | seen[:, rows].any(1)
        if torch.equal(more, rows):
            return rows
        rows = more
