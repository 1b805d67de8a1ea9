"""FLOPs of a prefill outside the decoder's layers: vision tower, projector and LM head, counted while they run.

What the decoder's layers cost is arithmetic (`halfv_core.cost`); towers differ too much between families for that.
"""

from collections.abc import Mapping
from functools import wraps
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count
from transformers import PreTrainedModel

from halfv_core.families import Family, parts_of
from halfv_core.runtime.patching import Forward, Wrap, wrapped


def counter() -> FlopCounterMode:
    """torch's counter (2 a multiply-add; attention over the full square), which overlooks the CPU's attention kernel.

    with counter() as counting:
        model(**inputs)
    counting.get_total_flops()
    """

    def attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
        return sdpa_flop_count(query, key, value)  # type: ignore[no-any-return]

    kernel = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    return FlopCounterMode(display=False, custom_mapping={kernel: attention})


@torch.no_grad()
def outside_flops(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], *, family: Family | None = None) -> int:
    """FLOPs of the prompt's prefill that no plan changes; the LM head reads the last token alone, as in generation.

    Args:
        inputs: model inputs of any batch size.
    """
    layers = parts_of(model, family).layers
    with wrapped([Wrap(layer, "forward", _nothing) for layer in layers]), counter() as counting:
        model(**inputs, use_cache=False, logits_to_keep=1)
    return int(counting.get_total_flops())


def _nothing(forward: Forward) -> Forward:
    @wraps(forward)
    def run(hidden: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return hidden

    return run
