"""Variants of a prompt's run, each of which changes something in some layers, computed only where they differ.

    calls = LayerCalls.record(model, inputs)
    blind = {layer: Change(unseen=(rows, columns)) for layer in range(8, 17)}      # `rows` do not see `columns` there
    run_variants(calls, [blind, ...])                                              # (variants, 1, D), the last token

Nothing differs before a variant's first changed layer, nor at tokens that see none of the changed ones. So a variant
starts from the recorded input of that layer, and only the tokens that can differ go through it and the later layers;
the others are keys and values, made anew from the recorded states. All variants that have started pass through a layer
together, in batches.

A run of one changed layer each costs L(L+1)/2 evaluations of a layer instead of L^2, and each of them is of some tokens
only: of one, if nothing but what the last token sees has changed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cached_property, wraps
from typing import Any, NamedTuple

import torch

from halfv_core.errors import UnsupportedError
from halfv_core.families import Parts
from halfv_core.placement import device_of, parts_callable
from halfv_core.runtime.attention import keys_and_values
from halfv_core.runtime.patching import Forward, Wrap, attention_kernel, wrapped
from probe.capture.layer_calls import LayerCalls

MAX_BATCH_TOKENS = 16_384
"""Keys of all variants that pass through a layer at once: enough to keep a device busy, and about 2 GB in bfloat16 at
7B shapes."""


_MOST = 0.75
"""If a larger share of the tokens may differ, all are computed: with the model's own mask, often none, it is faster."""


class Change(NamedTuple):
    """What is different in one layer. All masks are (N,) bool."""

    unseen: tuple[torch.Tensor, torch.Tensor] | None = None
    """Rows and columns: in this layer, the tokens `rows` do not see the tokens `columns`. All must see some token."""
    head_off: tuple[torch.Tensor, int] | None = None
    """Rows and a query head, whose output is zero there."""
    put: tuple[torch.Tensor, torch.Tensor] | None = None
    """Rows and (N, D) hidden states, which take the place of the layer's input at these rows."""

    @property
    def rows(self) -> torch.Tensor:
        """(N,) bool: the tokens that are changed directly."""
        masks = [part[0].cpu() for part in self if part is not None]
        return torch.stack(masks).any(0)


Variant = Mapping[int, Change]
"""By layer: what is different there. The layer L stands for the output of the last layer, which can only be `put`."""


@torch.no_grad()
def run_variants(
    calls: LayerCalls,
    variants: Sequence[Variant],
    *,
    read: torch.Tensor | None = None,
    rows: torch.Tensor | None = None,
    tokens: int = MAX_BATCH_TOKENS,
) -> torch.Tensor:
    """Run variants of one prompt together.

    Args:
        calls: the run that they are variants of.
        variants: n of them, each of at least one change.
        read: (k,) ascending indices of the tokens whose states are wanted; by default the last token.
        rows: (N,) bool, tokens whose states may differ; by default all that see a changed token, directly or not. Of
            others that differ, nothing may be read or seen.
        tokens: maximum number of keys, over all variants, in one call of a layer; bounds the memory.

    Returns:
        (n, k, D) hidden states after the last layer, before the final norm; equal to those of separate runs.

    Raises:
        UnsupportedError: tensor parallelism has put the heads, one of which is off, into several processes.
    """
    final = calls.states[-1]
    read = torch.tensor([calls.length - 1]) if read is None else read.cpu()
    rows = _rows_or_all(calls, variants) if rows is None else rows
    if not rows.any():
        return final[:, read.to(final.device)].repeat(len(variants), 1, 1)
    some = _Rows(calls, rows)
    size = max(1, tokens // calls.length)
    starts = [min(variant) for variant in variants]
    states: dict[int, torch.Tensor] = {}  # (r, D) of each variant that has started, by its index
    for layer in range(min(starts), calls.layers + 1):
        states |= {index: some.of(calls.states[layer]) for index, start in enumerate(starts) if start == layer}
        changes = {index: variants[index].get(layer, Change()) for index in states}
        states = {index: some.with_put(states[index], change) for index, change in changes.items()}
        if layer < calls.layers:
            here = _Layer(some, layer)
            for batch in _batches(list(states), size):
                output = here.run(torch.stack([states[index] for index in batch]), [changes[index] for index in batch])
                states |= dict(zip(batch, output, strict=True))
    found = final[:, read.to(final.device)].repeat(len(variants), 1, 1)
    differ = torch.isin(read, some.indices)
    places = torch.searchsorted(some.indices, read[differ])
    for index, state in states.items():
        found[index, differ] = state[places].to(final.device)
    return found


@torch.no_grad()
def with_vision(calls: LayerCalls, visual: torch.Tensor, change: Callable[[torch.Tensor], torch.Tensor]) -> LayerCalls:
    """The same prompt's run, had the vision tower given other states for the visual tokens.

    Args:
        calls: the run.
        visual: (N,) bool, the V visual tokens.
        change: from (V, D) states to others; of the input of layer 0, and of the features that a model adds later.

    Returns:
        The changed run; it costs L evaluations of a layer, of all tokens from the first visual one on.
    """
    where = visual.nonzero()[:, 0]

    def changed(states: torch.Tensor) -> torch.Tensor:
        states, here = states.clone(), where.to(states.device)
        states[0, here] = change(states[0, here]).to(states.dtype)
        return states

    calls = replace(calls, features=tuple(map(changed, calls.features)))
    some = _Rows(calls, _rows_or_all(calls, [{0: Change(put=(visual, calls.states[0][0]))}]))
    state = changed(calls.states[0])
    states = [state]
    for layer in range(calls.layers):
        output = _Layer(some, layer).run(some.of(state)[None], [Change()])
        state = calls.states[layer + 1].clone()
        state[:, some.indices.to(state.device)] = output.to(state.device)
        states.append(state)
    return replace(calls, states=tuple(states))


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


def _rows_or_all(calls: LayerCalls, variants: Sequence[Variant]) -> torch.Tensor:
    rows = changed_rows(calls, variants)
    return torch.ones_like(rows) if rows.float().mean() > _MOST else rows


class _Rows:
    """Some tokens of a run, which pass through layers anew, while the others are keys and values."""

    def __init__(self, calls: LayerCalls, rows: torch.Tensor) -> None:
        """Choose r of the N tokens by a (N,) bool mask."""
        self.calls = calls
        self.mask = rows.cpu()
        self.indices = self.mask.nonzero()[:, 0]
        """(r,) ascending."""
        self.others = (~self.mask).nonzero()[:, 0]
        """(N - r,) ascending."""

    def of(self, states: torch.Tensor) -> torch.Tensor:
        """(1, N, D) states of all tokens -> (r, D)."""
        return states[0, self.indices.to(states.device)]

    def with_put(self, states: torch.Tensor, change: Change) -> torch.Tensor:
        """(r, D) states after a change's `put`."""
        if change.put is None:
            return states
        where, new = change.put
        chosen = where.cpu()[self.mask].to(states.device)
        return torch.where(chosen[:, None], new[self.indices.to(new.device)].to(states), states)


class _Layer:
    """One layer, called for some tokens."""

    def __init__(self, rows: _Rows, layer: int) -> None:
        self._rows = rows
        self._calls = rows.calls
        self._layer = layer
        self._module = rows.calls.parts.layers[layer]

    def run(self, hidden: torch.Tensor, changes: Sequence[Change]) -> torch.Tensor:
        """What enters the next layer at the r tokens.

        Args:
            hidden: (B, r, D), the layer's input in B variants, with what is to be put in it already.
            changes: one for each variant.

        Returns:
            (B, r, D).
        """
        parts, features = self._calls.parts, self._calls.features
        off = [
            (row, change.head_off[0].cpu()[self._rows.mask], change.head_off[1])
            for row, change in enumerate(changes)
            if change.head_off is not None
        ]
        with ExitStack() as stack:
            if off:
                stack.enter_context(_heads_off(parts, self._module.self_attn, off))
            if parts.flash:
                stack.enter_context(attention_kernel(self._module.self_attn, "sdpa"))
            output: torch.Tensor = self._module(hidden, **self._arguments(hidden, changes))
        if self._layer < len(features):
            output = output + self._rows.of(features[self._layer]).to(output.device)
        return output

    def _arguments(self, hidden: torch.Tensor, changes: Sequence[Change]) -> dict[str, Any]:
        """The call's other arguments for (B, r, D) states."""
        original = self._calls.arguments[self._layer]
        whole = not len(self._rows.others)
        if whole and not self._calls.parts.flash and all(change.unseen is None for change in changes):
            return dict(original)
        arguments = {name: self._of_rows(name, value) for name, value in original.items()}
        arguments["attention_mask"] = self._mask(hidden, changes)
        if not whole:
            arguments["past_key_values"] = _FixedKeys(*self._fixed)
        return arguments

    def _of_rows(self, name: str, value: Any) -> Any:
        """An argument's entries for the r tokens, if it has one for each token."""
        indices = self._rows.indices
        if name == "position_embeddings":
            return tuple(table[:, indices.to(table.device)] for table in value)
        if name in ("position_ids", "cache_position") and isinstance(value, torch.Tensor):
            return value[..., indices.to(value.device)]
        return value

    @cached_property
    def _fixed(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the other tokens."""
        others, state = self._rows.others, self._calls.states[self._layer]
        device = device_of(self._module)
        tables = self._calls.arguments[self._layer]["position_embeddings"]
        cos, sin = (table[:, others.to(table.device)].to(device) for table in tables)
        hidden = state[:, others.to(state.device)].to(device)
        with parts_callable(self._module):
            return keys_and_values(self._calls.parts, self._module, hidden, cos, sin)

    @cached_property
    def _keys(self) -> torch.Tensor:
        """(N,) the tokens in the order of their keys: first the others."""
        return torch.cat([self._rows.others, self._rows.indices])

    @cached_property
    def _seen(self) -> torch.Tensor:
        """(r, N) bool: the keys that each of the r tokens sees in the recorded run."""
        seen = self._calls.seen(self._layer)
        return seen[self._rows.indices.to(seen.device)][:, self._keys.to(seen.device)]

    def _mask(self, hidden: torch.Tensor, changes: Sequence[Change]) -> torch.Tensor:
        """(B or 1, 1, r, N) additive mask."""
        seen = self._seen.to(hidden.device)[None]
        if any(change.unseen is not None for change in changes):
            seen = torch.stack([self._seen_under(change, seen[0]) for change in changes])
        blocked = torch.finfo(hidden.dtype).min
        return torch.zeros(seen.shape, dtype=hidden.dtype, device=seen.device).masked_fill(~seen, blocked)[:, None]

    def _seen_under(self, change: Change, seen: torch.Tensor) -> torch.Tensor:
        if change.unseen is None:
            return seen
        rows, columns = (mask.cpu() for mask in change.unseen)
        rows, columns = rows[self._rows.indices].to(seen.device), columns[self._keys].to(seen.device)
        return seen & ~(rows[:, None] & columns)


class _FixedKeys:
    """Takes the place of the cache in a layer's call: keys and values of the other tokens, the same in all rows."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        self._keys = keys
        self._values = values

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, kv_heads, r, head_dim) keys and values of the tokens in the call -> those of all N tokens."""
        return _after(self._keys, keys), _after(self._values, values)


def _batches(indices: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (indices[first : first + size] for first in range(0, len(indices), size))


def _after(fixed: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    return torch.cat([fixed.to(new.device).expand(len(new), -1, -1, -1), new], 2)


@contextmanager
def _heads_off(parts: Parts, attention: Any, off: Sequence[tuple[int, torch.Tensor, int]]) -> Iterator[None]:
    """Inside the block, heads give zero: which row of the batch, (r,) bool at which tokens, and which head."""
    if parts.ranks.group is not None:
        raise UnsupportedError(
            "single heads cannot be switched off where tensor parallelism has put them into several processes",
            remedy="run the model in one process",
        )
    width = attention.head_dim

    def without(forward: Forward) -> Forward:
        @wraps(forward)
        def run(states: torch.Tensor) -> Any:
            states = states.clone()  # (B, r, H * head_dim)
            for row, where, head in off:
                states[row, where.to(states.device), head * width : (head + 1) * width] = 0.0
            return forward(states)

        return run

    with wrapped([Wrap(attention.o_proj, "forward", without)], plan=False):
        yield
