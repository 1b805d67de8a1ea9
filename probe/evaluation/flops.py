"""Counts the FLOPs of a prefill outside the decoder's layers, vision tower, projector and LM head, while they run.

The cost of the decoder's layers is computed analytically (`halfv_core.cost`); vision towers differ too much for that.
"""

from collections.abc import Mapping
from functools import wraps
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedModel

from halfv_core.families import Family, parts_of
from halfv_core.runtime.patching import Forward, Wrap, wrapped
from halfv_core.wrappers import plain_model


def flop_counter() -> FlopCounterMode:
    """torch's FLOP counter, which also counts attention on a CPU and attention with fewer key heads than query heads.

    torch leaves the first out, and fails on the second, which transformers leaves to the kernel on an accelerator. A
    multiply-add counts as 2 FLOPs, and attention counts in full, without the saving from causal masking.

    with flop_counter() as counting:
        model(**inputs)
    counting.get_total_flops()
    """
    return FlopCounterMode(display=False, custom_mapping=dict.fromkeys(_ATTENTION_KERNELS, attention_flops))


_ATTENTION_KERNELS = (
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu,
    torch.ops.aten._scaled_dot_product_flash_attention,
    torch.ops.aten._scaled_dot_product_efficient_attention,
    torch.ops.aten._scaled_dot_product_cudnn_attention,
)


def attention_flops(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    """FLOPs of an attention kernel: for each query head, q k, and the weighted sum of the values.

    Args:
        query: shape (B, H, q, d).
        key: shape (B, H_kv, m, d), where H_kv divides H.
        value: shape (B, H_kv, m, d_v).
    """
    rows, heads, queries, head_dim = query
    return 2 * rows * heads * queries * key[2] * (head_dim + value[3])


@torch.no_grad()
def outside_flops(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], *, family: Family | None = None) -> int:
    """FLOPs of the prompt's prefill outside the decoder's layers, with the LM head on the last token only.

    Args:
        inputs: model inputs of any batch size.
    """
    layers, head = parts_of(model, family).layers, plain_model(model).get_output_embeddings()
    with wrapped([Wrap(part, "forward", _skip) for part in (*layers, head)]), flop_counter() as counting:
        model(**inputs, use_cache=False, logits_to_keep=1)
    # By its sizes, since under tensor parallelism this process multiplies by a part of it.
    of_head: int = 2 * len(inputs["input_ids"]) * head.in_features * head.out_features
    return int(counting.get_total_flops()) + of_head


class OutsideFlops:
    """`outside_flops` of one model, counted once for inputs of the same shapes."""

    def __init__(self, model: PreTrainedModel, family: Family | None = None) -> None:
        self._model = model
        self._family = family
        self._known: dict[tuple[tuple[str, torch.Size], ...], int] = {}

    def __call__(self, inputs: Mapping[str, torch.Tensor]) -> int:
        """FLOPs of the prompt's prefill outside the decoder's layers."""
        shapes = tuple((name, tensor.shape) for name, tensor in sorted(inputs.items()))
        if shapes not in self._known:
            self._known[shapes] = outside_flops(self._model, inputs, family=self._family)
        return self._known[shapes]


def _skip(forward: Forward) -> Forward:
    @wraps(forward)
    def run(hidden: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        return hidden

    return run
