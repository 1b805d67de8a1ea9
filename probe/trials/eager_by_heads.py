"""transformers' attention kernel `eager`, a few heads at a time: equal numbers, without all heads' scores at once.

The scores of H heads between N tokens take H N^2 numbers, and `eager` holds them three times over, once in float32: 1.5
GB for 28 heads and 2,560 tokens in bfloat16. Heads do not depend on each other.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from halfv_core.runtime.patching import attention_kernel

KERNEL = "halfv_eager"
SCORE_BYTES = 2**26
"""Bytes of float32 scores at once; if a single key head and its query heads have more, they come alone."""


@contextmanager
def eager_by_heads(attention: Any) -> Iterator[None]:
    """Inside the block, the attention module, and all that share its config, use this kernel.

    Args:
        attention: a decoder layer's attention. If its file has no eager kernel of its own, nothing is divided.
    """
    AttentionInterface.register(KERNEL, _attend)
    AttentionMaskInterface.register(KERNEL, eager_mask)
    with attention_kernel(attention, KERNEL if _eager(attention) is not None else "eager"):
        yield


def _eager(attention: Any) -> Any:
    return getattr(sys.modules[type(attention).__module__], "eager_attention_forward", None)


def _attend(
    attention: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """See transformers' AttentionInterface: queries (B, H, q, d), keys and values (B, H_kv, n, d) -> (B, q, H, d)."""
    eager, each = _eager(attention), getattr(attention, "num_key_value_groups", 1)
    scores = 4 * len(query) * each * query.shape[2] * key.shape[2]
    at_once = max(1, SCORE_BYTES // scores)
    groups = zip(query.split(at_once * each, 1), key.split(at_once, 1), value.split(at_once, 1), strict=True)
    return torch.cat([eager(attention, *group, attention_mask, **options)[0] for group in groups], 2), None
