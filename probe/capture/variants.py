"""Variants of a prompt's run, each of which changes something in some layers, computed only where they differ.

    calls = LayerCalls.record(model, inputs)
    blind = {layer: Change(unseen=(rows, columns)) for layer in range(8, 17)}      # `rows` do not see `columns` there
    run_variants(calls, [blind, ...])                                              # (variants, 1, D), the last token

Nothing differs before a variant's first changed layer, nor at tokens that see none of the changed ones. So a variant
starts from the recorded input of that layer, and only the tokens that can differ go through it and the later layers;
the others are keys and values, made anew from the recorded states. Variants that have started pass
through a layer together, in batches, and no more of them are under way at once than the batches' tokens allow.

A run of one changed layer each costs L(L+1)/2 evaluations of a layer instead of L^2, and each of them is of some tokens
only: of one, if nothing but what the last token sees has changed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch

from probe.capture.changes import Change, Variant, changed_rows
from probe.capture.layer_calls import LayerCalls
from probe.capture.limits import MAX_BATCH_TOKENS
from probe.capture.some_rows import LayerOfRows, SomeRows

_MOST = 0.75
"""If a larger share of the tokens may differ, all are computed: with the model's own mask, often none, it is faster."""


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
        tokens: maximum number of keys, over all variants, in one call of a layer, and of rows under way; bounds the
            memory.

    Returns:
        (n, k, D) hidden states after the last layer, before the final norm; equal to those of separate runs.

    Raises:
        UnsupportedError: tensor parallelism has put the heads, one of which is off, into several processes.
    """
    final = calls.states[-1]
    read = torch.tensor([calls.length - 1]) if read is None else read.cpu()
    rows = _rows_or_all(calls, variants) if rows is None else rows
    found = final[:, read.to(final.device)].repeat(len(variants), 1, 1)
    if not rows.any():
        return found
    some = SomeRows(calls, rows)
    differ = torch.isin(read, some.indices)
    places = torch.searchsorted(some.indices, read[differ])
    in_order = sorted(range(len(variants)), key=lambda index: min(variants[index]))
    batch = max(1, tokens // calls.length)
    for together in _batches(in_order, max(1, tokens // len(some.indices))):
        read_there = _through_the_layers(some, {index: variants[index] for index in together}, batch, places)
        for index, states in read_there.items():
            found[index, differ] = states.to(final.device)
    return found


def _through_the_layers(
    some: SomeRows, variants: Mapping[int, Variant], batch: int, places: torch.Tensor
) -> dict[int, torch.Tensor]:
    """Run some of the variants together.

    Args:
        variants: by their index, in the order in which they start.
        batch: number of variants in one call of a layer.
        places: (k,) the rows that are wanted.

    Returns:
        By index, (k, D) after the last layer.
    """
    calls, states = some.calls, dict[int, torch.Tensor]()  # states of each variant that has started
    starts = {index: min(variant) for index, variant in variants.items()}
    for layer in range(min(starts.values()), calls.layers + 1):
        states |= {index: some.of(calls.states[layer]) for index, start in starts.items() if start == layer}
        changes = {index: variants[index].get(layer, Change()) for index in states}
        for index, change in changes.items():
            states[index] = some.with_put(states[index], change)
        if layer < calls.layers:
            here = LayerOfRows(some, layer)
            for indices in _batches(list(states), batch):
                hidden = torch.stack([states.pop(index) for index in indices])
                states |= dict(zip(indices, here.run(hidden, [changes[index] for index in indices]), strict=True))
    return {index: state[places] for index, state in states.items()}


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
    some = SomeRows(calls, _rows_or_all(calls, [{0: Change(put=(visual, calls.states[0][0]))}]))
    state = changed(calls.states[0])
    states = [state]
    for layer in range(calls.layers):
        output = LayerOfRows(some, layer).run(some.of(state)[None], [Change()])
        state = calls.states[layer + 1].clone()
        state[:, some.indices.to(state.device)] = output.to(state.device)
        states.append(state)
    return replace(calls, states=tuple(states))


def _rows_or_all(calls: LayerCalls, variants: Sequence[Variant]) -> torch.Tensor:
    rows = changed_rows(calls, variants)
    return torch.ones_like(rows) if rows.float().mean() > _MOST else rows


def _batches(indices: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    return (indices[first : first + size] for first in range(0, len(indices), size))
