"""Some tokens of a recorded run, and a layer called for them alone, while the others are keys and values."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cached_property, wraps
from typing import Any

import torch

from halfv_core.errors import UnsupportedError
from halfv_core.families import Parts
from halfv_core.placement import device_of, parts_callable
from halfv_core.runtime.attention import keys_and_values
from halfv_core.runtime.layer_input import arguments_of, in_each_row
from halfv_core.runtime.own_run import cached_of
from halfv_core.runtime.patching import Forward, Wrap, attention_kernel, wrapped
from halfv_core.runtime.rotary_tables import on_device
from probe.capture.changes import Change
from probe.capture.layer_calls import LayerCalls


class SomeRows:
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
        where, new = change.put[0], change.put[1] if isinstance(change.put[1], torch.Tensor) else change.put[1]()
        chosen = where.cpu()[self.mask].to(states.device)
        return torch.where(chosen[:, None], new[self.indices.to(new.device)].to(states), states)


class LayerOfRows:
    """One layer, called for some tokens."""

    def __init__(self, rows: SomeRows, layer: int) -> None:
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
            output: torch.Tensor
            if off:
                stack.enter_context(_heads_off(parts, self._module.self_attn, off))
            if parts.flash:
                stack.enter_context(attention_kernel(parts.decoder, "sdpa"))
            if self._layer in parts.recurrent:
                output = self._in_order(hidden, changes)
            else:
                output = self._module(hidden, **self._arguments(hidden, changes))
        if self._layer < len(features):
            output = output + self._rows.of(features[self._layer]).to(output.device)
        return output

    def _in_order(self, hidden: torch.Tensor, changes: Sequence[Change]) -> torch.Tensor:
        """A layer with a running state, through which the other tokens go as well, as they were."""
        if any(change.unseen is not None for change in changes):
            raise UnsupportedError(
                f"layer {self._layer} has no attention from which tokens could be hidden",
                remedy="use a variant that does not hide tokens",
            )
        whole = self._calls.states[self._layer].to(hidden.device).repeat(len(hidden), 1, 1)
        where = self._rows.indices.to(hidden.device)
        arguments = in_each_row(self._calls.arguments[self._layer], whole)
        output: torch.Tensor = self._module(whole.index_copy(1, where, hidden), **arguments)
        return output[:, where]

    def _arguments(self, hidden: torch.Tensor, changes: Sequence[Change]) -> dict[str, Any]:
        """The call's other arguments for (B, r, D) states."""
        original = self._calls.arguments[self._layer]
        whole = not len(self._rows.others)
        if whole and not self._calls.parts.flash and all(change.unseen is None for change in changes):
            return in_each_row(original, hidden)
        arguments = in_each_row(arguments_of(original, self._rows.indices[None], self._calls.length), hidden)
        arguments["attention_mask"] = self._mask(hidden, changes)
        if not whole:
            arguments["past_key_values"] = _FixedKeys(*self._fixed)
        return arguments

    @cached_property
    def _fixed(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values of the other tokens."""
        others, state = self._rows.others, self._calls.states[self._layer]
        device = device_of(self._module)
        arguments = arguments_of(self._calls.arguments[self._layer], others[None], self._calls.length)
        hidden = state[:, others.to(state.device)].to(device)
        if not self._calls.parts.is_plain:
            return cached_of(self._module, hidden, arguments)
        with parts_callable(self._module):
            rotary = on_device(arguments["position_embeddings"], device)
            return keys_and_values(self._calls.parts, self._module, hidden, rotary)

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


def _after(fixed: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
    return torch.cat([fixed.to(new.device).expand(len(new), -1, -1, -1), new], 2)


@contextmanager
def _heads_off(parts: Parts, attention: Any, off: Sequence[tuple[int, torch.Tensor, int]]) -> Iterator[None]:
    """Inside the block, heads give zero: which row of the batch, (r,) bool at which tokens, and which head."""
    parts.check_plain("switching single heads off")
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
