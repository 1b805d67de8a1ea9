"""Next-token distributions of a prompt's variants, and how far they are from the full model's.

Logits that are rounded to 16 bits differ by more than the distributions of similar variants do, so the final norm and
the head are computed in float32 whatever the model's dtype.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from halfv_core.errors import DataError
from halfv_core.families.base import Parts
from halfv_core.placement import device_of, weights_in_memory
from halfv_core.precision import is_matrix, no_autocast, widened, widened_norm
from halfv_core.runtime.layout import TokenLayout

Direction = Literal["forward", "reverse"]


def layout_of_one(parts: Parts, inputs: Mapping[str, torch.Tensor], what: str) -> TokenLayout:
    """Where the visual tokens of one prompt are.

    Args:
        parts: of the model.
        inputs: model inputs.
        what: is measured, for the error.

    Raises:
        DataError: more than one prompt, or a prompt without visual tokens.
    """
    layout = TokenLayout.find(inputs["input_ids"], parts.visual_ids, inputs.get("attention_mask"))
    if layout.rows != 1 or not layout.has_visual:
        got = f"{layout.rows} rows" if layout.rows != 1 else "no visual token"
        raise DataError(f"{what} takes one prompt with an image", got=got)
    return layout


_HEAD_ROWS = 4096
"""Rows of a head of 16 bits that are widened at once: 60 MB of float32 at 7B shapes instead of 2 GB."""


def divergences(parts: Parts, states: Sequence[torch.Tensor], direction: Direction = "forward") -> torch.Tensor:
    """KL divergence of each variant's next-token distribution from the full run's.

    Args:
        parts: of the model.
        states: (1, D) each, the last prompt token after the last layer: of the full run, then of n variants.
        direction: `forward` is KL(full || variant), `reverse` is KL(variant || full).

    Returns:
        (n,) float64, nats.

    Raises:
        DataError: logits that are NaN or infinite.
    """
    logits = head_logits(parts, states)
    if not logits.isfinite().all():
        raise DataError("logits are not finite", remedy="load the model in bfloat16 or float32")
    full, *changed = logits.double().log_softmax(-1)  # (n+1, vocabulary)
    pairs = [(full, other) if direction == "forward" else (other, full) for other in changed]
    return torch.stack([(p.exp() * (p - q)).sum() for p, q in pairs])


def head_logits(parts: Parts, states: Sequence[torch.Tensor]) -> torch.Tensor:
    """What the final norm and the head make of states, one tensor at a time: equal tensors give bit-equal logits.

    Args:
        parts: of the model.
        states: (r, D) each, n rows together, before the final norm.

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
