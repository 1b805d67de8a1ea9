"""KL layer redundancy: how much the next-token distribution changes when one layer leaves the visual tokens unchanged.

    redundancy[l] = KL(P_full || P_l)      nats, at the last prompt token

P_l is the next-token distribution of a run in which layer l passes the hidden states of visual tokens through unchanged
(ShortV, arXiv 2504.00502, layer contribution; HalfV, arXiv 2604.16462, KL analysis; both public releases compute the
reverse direction). The last layer's value is exactly 0, because no later layer could see the change.

Nothing changes before layer l, so variant l starts from the full run's input of layer l, and all variants that have
started pass through each later layer as one batch: L(L+1)/2 layer evaluations instead of L full passes.

Logits that are rounded to 16 bits differ by more than the distributions of idle layers do, so the final norm and the
head are computed in float32 whatever the model's dtype.
"""

from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any, Literal

import torch
from transformers import PreTrainedModel

from halfv_core.errors import DataError
from halfv_core.families import Family, parts_of
from halfv_core.families.base import Parts
from halfv_core.placement import device_of, weights_in_memory
from halfv_core.precision import is_matrix, no_autocast, widened, widened_norm
from halfv_core.runtime.layout import TokenLayout
from halfv_core.runtime.patching import Forward, Wrap, wrapped

Direction = Literal["forward", "reverse"]

MAX_BATCH_TOKENS = 16_384
"""Tokens that pass through a layer at once: enough to keep a device busy, and about 2 GB in bfloat16 at 7B shapes."""
_HEAD_ROWS = 4096
"""Rows of a head of 16 bits that are widened at once: 60 MB of float32 at 7B shapes instead of 2 GB."""


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
    layout = TokenLayout.find(inputs["input_ids"], parts.visual_ids, inputs.get("attention_mask"))
    if layout.rows != 1 or not layout.has_visual:
        got = f"{layout.rows} rows" if layout.rows != 1 else "no visual token"
        raise DataError("layer redundancy takes one prompt with an image", got=got)
    variants = _Variants(layout.visual[0], max(1, tokens // layout.visual.shape[1]))
    wrapping = [Wrap(layer, "forward", variants.around) for layer in parts.layers]
    if parts.deepstack is not None:
        wrapping.append(Wrap(parts.decoder, parts.deepstack, variants.around_deepstack))
    with wrapped(wrapping):
        model(**inputs, use_cache=False, logits_to_keep=1)
    logits = _logits(parts, [row[:, layout.last[0]] for row in [variants.full, *variants.rows]])
    if not logits.isfinite().all():
        raise DataError("logits are not finite", remedy="load the model in bfloat16 or float32")
    full, *changed = logits.double().log_softmax(-1)  # (L+1, vocabulary)
    pairs = [(full, other) if direction == "forward" else (other, full) for other in changed]
    return torch.stack([(p.exp() * (p - q)).sum() for p, q in pairs])


def _logits(parts: Parts, states: Sequence[torch.Tensor]) -> torch.Tensor:
    """What the final norm and the head make of n states (1, D), one at a time: equal states give bit-equal logits.

    Returns:
        (n, vocabulary), float32 if the head is a plain matrix of any dtype, else in the model's dtype.
    """
    head = parts.head
    if not is_matrix(head) or head.weight.dtype in (torch.float32, torch.float64):
        return torch.cat([parts.head(parts.norm(state)) for state in states])
    device = device_of(head)  # tied to the embeddings, it may be on another one than the last layer
    normed = [widened_norm(parts.norm, state).to(device) for state in states]
    with weights_in_memory(head), no_autocast(device):
        pieces = [
            torch.cat([state @ rows.T for state in normed])  # (n, _HEAD_ROWS)
            for rows in map(widened, head.weight.split(_HEAD_ROWS))
        ]
        logits = torch.cat(pieces, dim=1)
        return logits if head.bias is None else logits + head.bias


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
