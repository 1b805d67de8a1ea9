"""KL layer redundancy: how much the next-token distribution changes when one layer leaves the visual tokens unchanged.

    redundancy[l] = KL(P_full || P_l)      nats, at the last prompt token

P_l is the next-token distribution of a run in which layer l passes the hidden states of visual tokens through unchanged
(ShortV, arXiv 2504.00502, layer contribution; HalfV, arXiv 2604.16462, KL analysis; both public releases compute the
reverse direction). The last layer's value is exactly 0, because no later layer could see the change.

Nothing changes before layer l, so variant l starts from the full run's input of layer l, and all variants that have
started pass through each later layer as one batch: L(L+1)/2 layer evaluations instead of L full passes.
"""

from collections.abc import Mapping
from functools import wraps
from typing import Any

import torch
from transformers import PreTrainedModel

from halfv_core.families import Family, parts_of
from halfv_core.runtime.patching import Forward, Wrap, wrapped
from probe.analyzers.next_token import Direction, divergences, layout_of_one

MAX_BATCH_TOKENS = 16_384
"""Tokens that pass through a layer at once: enough to keep a device busy, and about 2 GB in bfloat16 at 7B shapes."""


@torch.no_grad()
def layer_redundancy(
    model: PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    *,
    direction: Direction = "forward",
    tokens: int = MAX_BATCH_TOKENS,
    family: Family | None = None,
) -> torch.Tensor:
    """The KL curve of one prompt.

    Args:
        inputs: model inputs, batch of one.
        direction: `forward` is KL(full || variant), `reverse` is KL(variant || full), as in the public releases.
        tokens: maximum number of tokens, over all variants, that pass through a layer together; bounds the memory.

    Returns:
        (L,) float64, nats.

    Raises:
        DataError: more than one prompt, a prompt without visual tokens, or logits that are NaN or infinite.
    """
    parts = parts_of(model, family)
    layout = layout_of_one(parts, inputs, "layer redundancy")
    variants = _Variants(layout.visual[0], max(1, tokens // layout.visual.shape[1]))
    wrapping = [Wrap(layer, "forward", variants.around) for layer in parts.layers]
    if parts.deepstack is not None:
        wrapping.append(Wrap(parts.decoder, parts.deepstack, variants.around_deepstack))
    with wrapped(wrapping):
        model(**inputs, use_cache=False, logits_to_keep=1)
    return divergences(parts, [row[:, layout.last[0]] for row in [variants.full, *variants.rows]], direction)


class _Variants:
    """The runs in which one layer leaves the visual tokens unchanged, one per layer, in layer order."""

    def __init__(self, visual: torch.Tensor, batch: int) -> None:
        self._visual = visual
        self._batch = batch
        self.rows: list[torch.Tensor] = []
        """Hidden states of each variant after the latest layer, each (1, N, D)."""
        self.full = torch.empty(0)
        """Hidden states of the full run after the latest layer, (1, N, D)."""

    def around(self, forward: Forward) -> Forward:
        @wraps(forward)
        def run(hidden: torch.Tensor, **kwargs: Any) -> torch.Tensor:
            output: torch.Tensor = forward(hidden, **kwargs)
            chunks = torch.cat(self.rows).to(hidden.device).split(self._batch) if self.rows else ()
            self.rows = [row for chunk in chunks for row in forward(chunk, **kwargs).split(1)]
            # Of layers on several devices, accelerate moves a layer's input only after this wrapper.
            unchanged = hidden.to(output.device)
            self.rows.append(torch.where(self._visual.to(output.device)[:, None], unchanged, output))
            self.full = output
            return output

        return run

    def around_deepstack(self, add: Forward) -> Forward:
        @wraps(add)
        def run(hidden: torch.Tensor, *args: Any) -> torch.Tensor:
            self.rows = [add(row.to(hidden.device), *args) for row in self.rows]
            self.full = add(hidden, *args)
            return self.full

        return run
