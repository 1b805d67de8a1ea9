"""Rotary tables as the families' decoders pass them to their layers: cosines and sines, complex numbers, or none."""

import torch

from halfv_core.runtime.token_slots import gather_tokens

RotaryTables = torch.Tensor | tuple[torch.Tensor, ...] | None
"""(B or 1, n, ...) each; None in decoders and layers that rotate nothing."""


def of_tokens(tables: RotaryTables, indices: torch.Tensor) -> RotaryTables:
    """The tables of the tokens at the indices (B, k)."""
    if tables is None or isinstance(tables, torch.Tensor):
        return None if tables is None else gather_tokens(tables, indices)
    return tuple(gather_tokens(table, indices) for table in tables)


def of_row(tables: RotaryTables, row: int) -> RotaryTables:
    """The tables of one row of the batch, (1, n, ...) each."""
    if tables is None or isinstance(tables, torch.Tensor):
        return None if tables is None else tables[min(row, len(tables) - 1)][None]
    return tuple(table[min(row, len(table) - 1)][None] for table in tables)


def on_device(tables: RotaryTables, device: torch.device) -> RotaryTables:
    """The same tables on a device."""
    if tables is None or isinstance(tables, torch.Tensor):
        return None if tables is None else tables.to(device)
    return tuple(table.to(device) for table in tables)


def first_table(tables: RotaryTables) -> torch.Tensor | None:
    """One of the tensors, which tells tables apart; None if there is none."""
    return tables[0] if isinstance(tables, tuple) else tables


def turning_nothing(tables: RotaryTables) -> RotaryTables:
    """Tables of the same shape that leave queries and keys as they are."""
    if tables is None or isinstance(tables, torch.Tensor):
        return None if tables is None else torch.ones_like(tables)
    cos, *sines = tables
    return (torch.ones_like(cos), *(torch.zeros_like(sin) for sin in sines))
