"""Counts the FLOPs of a prefill outside the decoder's layers, vision tower, projector and LM head, while they run.

The cost of the decoder's layers is computed analytically (`halfv_core.cost`); vision towers differ too much for that.
"""

from collections.abc import Mapping
from functools import wraps
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import PreTrainedModel

from halfv_core.families import Family, parts_of
from halfv_core.runtime.patching import Forward, Wrap, wrapped


def flop_counter() -> FlopCounterMode:
    """torch's FLOP counter, extended to the CPU's attention kernel, which torch leaves out.

    A multiply-add counts as 2 FLOPs, and attention counts in full, without the saving from causal masking.

    with flop_counter() as counting:
        model(**inputs)
    counting.get_total_flops()
    """

    def attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
        return sdpa_flop_count(query, key, value)  # type: ignore[no-any-return]

    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={kernel: attention})


@torch.no_grad()
def outside_flops(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], *, family: Family | None = None) -> int:
    """FLOPs of the prompt's prefill outside the decoder's layers, with the LM head on the last token only.

    Args:
        inputs: model inputs of any batch size.
    """
    layers = parts_of(model, family).layers
    with wrapped([Wrap(layer, "forward", _skip) for layer in layers]), flop_counter() as counting:
        model(**inputs, use_cache=False, logits_to_keep=1)
    return int(counting.get_total_flops())


def _skip(forward: Forward) -> Forward:
    @wraps(forward)
    def run(hidden: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return hidden

    return run
