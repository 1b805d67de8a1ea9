"""FlashAttention in plain torch, put behind transformers' own wrapper, so that its rules can be tested without a GPU.

The wrapper decides by the padding mask and the position ids what the kernel gets; the kernel aligns causality at the
last query and the last key, as flash_attn does since 2.1.
"""

from itertools import pairwise

import pytest
import torch
from transformers import PreTrainedModel, modeling_flash_attention_utils

from tests.tiny import tiny_model


def attend(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float) -> torch.Tensor:
    """(q, H, d) over (m, H_kv, d): the last query sees every key."""
    groups = query.shape[1] // key.shape[1]
    key, value = (states.repeat_interleave(groups, 1) for states in (key, value))
    logits = torch.einsum("qhd,khd->hqk", query, key) * scale
    hidden = torch.ones(logits.shape[1:], dtype=torch.bool).triu(logits.shape[2] - logits.shape[1] + 1)
    return torch.einsum("hqk,khd->qhd", logits.masked_fill(hidden, -torch.inf).softmax(-1), value)


def flash_attn_func(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, softmax_scale: float, causal: bool = False
) -> torch.Tensor:
    assert causal
    return torch.stack([attend(*row, softmax_scale) for row in zip(q, k, v, strict=True)])


def flash_attn_varlen_func(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, cu_seqlens_q: torch.Tensor, cu_seqlens_k: torch.Tensor,
    max_seqlen_q: int, max_seqlen_k: int, softmax_scale: float, causal: bool = False,
) -> torch.Tensor:  # fmt: skip
    assert causal
    queries, keys = pairwise(cu_seqlens_q.tolist()), pairwise(cu_seqlens_k.tolist())
    rows = [attend(q[a:b], k[c:d], v[c:d], softmax_scale) for (a, b), (c, d) in zip(queries, keys, strict=True)]
    return torch.cat(rows)


def use_flash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let models run with attn_implementation flash_attention_2."""
    utils = modeling_flash_attention_utils
    functions = flash_attn_func, flash_attn_varlen_func, None, utils._pad_input, utils._unpad_input
    monkeypatch.setattr(utils, "_lazy_imports", lambda *_, **__: functions)
    monkeypatch.setattr(utils, "_loaded_implementation", None)


def flash_model(family: str) -> PreTrainedModel:
    """The tiny model of a family with FlashAttention in its decoder."""
    model = tiny_model(family)
    model.config.get_text_config()._attn_implementation = "flash_attention_2"
    return model
