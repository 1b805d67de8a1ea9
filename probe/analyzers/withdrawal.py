"""Withdrawal: how much the next-token distribution changes when all visual tokens leave at one layer.

    withdrawal[l] = KL(P_full || P_l)      nats, at the last prompt token

P_l is the next-token distribution of a run in which the visual tokens leave at the input of layer l (VTW, arXiv
2405.05803, whose code computes the reverse direction).

Nothing changes before layer l, so variant l starts from the full run's input of layer l, and only the text behind the
image goes on from there: L(L+1)/2 layer evaluations of this text instead of L full passes.
"""

from collections.abc import Mapping

import torch
from transformers import PreTrainedModel

from halfv_core.families import Family, parts_of
from probe.analyzers.next_token import divergences, layout_of_one
from probe.capture.changes import Change, Variant
from probe.capture.layer_calls import LayerCalls
from probe.capture.variants import run_variants


@torch.no_grad()
def withdrawal(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    *,
    family: Family | None = None,
    low_memory: bool = False,
) -> torch.Tensor:
    """The withdrawal curve of one prompt.

    Args:
        inputs: model inputs, batch of one, without padding.
        low_memory: see `KeptStates`.

    Returns:
        (L,) float64, nats.

    Raises:
        DataError: more than one prompt, a prompt without visual tokens, or logits that are NaN or infinite.
    """
    parts = parts_of(model, family)
    visual = layout_of_one(parts, inputs, "a withdrawal").prunable[0].cpu()
    after = ~visual & (visual.cumsum(0) > 0)
    calls = LayerCalls.record(model, inputs, family=family, low_memory=low_memory)
    states = run_variants(calls, gone_from_each(calls.layers, after, visual), rows=after)
    return divergences(parts, [state[0] for state in (calls.states[-1][:, -1:], *states.split(1))])


def gone_from_each(layers: int, rows: torch.Tensor, columns: torch.Tensor) -> list[Variant]:
    """One variant for each layer, from which on the tokens `rows` do not see the tokens `columns`, (N,) bool each."""
    change = Change(unseen=(rows, columns))
    return [dict.fromkeys(range(first, layers), change) for first in range(layers)]
