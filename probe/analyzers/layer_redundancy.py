"""KL layer redundancy: how much the next-token distribution changes when one layer leaves the visual tokens unchanged.

    redundancy[l] = KL(P_full || P_l)      nats, at the last prompt token

P_l is the next-token distribution of a run in which layer l passes the hidden states of visual tokens through unchanged
(ShortV, arXiv 2504.00502, layer contribution; HalfV, arXiv 2604.16462, KL analysis; both public releases compute the
reverse direction). The last layer's value is exactly 0, because no later layer could see the change.

Nothing changes before layer l, so variant l starts from the full run's input of layer l + 1, and variants that have
started pass through later layers in batches: L(L-1)/2 layer evaluations instead of L full passes.
"""

from collections.abc import Mapping
from functools import partial

import torch
from transformers import PreTrainedModel

from halfv_core.families import Family, parts_of
from probe.analyzers.next_token import Direction, divergences, layout_of_one
from probe.capture.changes import Change, Variant
from probe.capture.layer_calls import LayerCalls
from probe.capture.limits import MAX_BATCH_TOKENS
from probe.capture.variants import run_variants


@torch.no_grad()
def layer_redundancy(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    *,
    direction: Direction = "forward",
    tokens: int = MAX_BATCH_TOKENS,
    family: Family | None = None,
    low_memory: bool = False,
) -> torch.Tensor:
    """The KL curve of one prompt.

    Args:
        inputs: model inputs, batch of one.
        direction: `forward` is KL(full || variant), `reverse` is KL(variant || full), as in the public releases.
        tokens: maximum number of tokens, over all variants, that pass through a layer together; bounds the memory.
        low_memory: see `KeptStates`.

    Returns:
        (L,) float64, nats.

    Raises:
        DataError: more than one prompt, a prompt without visual tokens, or logits that are NaN or infinite.
    """
    parts = parts_of(model, family)
    layout = layout_of_one(parts, inputs, "layer redundancy")
    calls = LayerCalls.record(model, inputs, family=family, low_memory=low_memory)
    states = run_variants(calls, frozen_in_one(calls, layout.visual[0]), read=layout.last, tokens=tokens)
    full = calls.states[-1][:, layout.last.to(calls.states[-1].device)]
    return divergences(parts, [state[0] for state in (full, *states.split(1))], direction)


def frozen_in_one(calls: LayerCalls, rows: torch.Tensor) -> list[Variant]:
    """One variant for each layer, which leaves the tokens `rows`, (N,) bool, as they are.

    What a model adds to visual tokens after a layer (`Family.deepstack`) is no part of the layer's update.
    """

    def entering(layer: int) -> torch.Tensor:
        states = calls.states[layer][0]
        return states + calls.features[layer][0].to(states.device) if layer < len(calls.features) else states

    return [{layer + 1: Change(put=(rows, partial(entering, layer)))} for layer in range(calls.layers)]
