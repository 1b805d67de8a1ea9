"""vLLM's own attention for the tokens that are left in a layer: what it is told of them, and where it puts their keys.

Only the description changes. Lengths and cache slots are those of the compact caches (`requests.py`), and the backend's
own builder makes the rest. A run of text between frozen tokens is described as a request of its own: its queries are
consecutive, and it sees the cache up to its own last token.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from halfv_core.errors import UnsupportedError
from halfv_core.serving.vllm.requests import Span, cache_slots
from halfv_core.serving.vllm.settings import check_backend


class Attention:
    """The attention of all decoder layers of one vLLM worker."""

    def __init__(self, runner: Any) -> None:
        """Take what is needed of a GPUModelRunner whose KV cache is initialised.

        Raises:
            UnsupportedError: its layers do not have one kind of cache in common, or their backend has not been tried.
        """
        groups = [group for groups in runner.attn_groups for group in groups]
        kinds = [type(group.kv_cache_spec).__name__ for group in groups]
        if kinds != ["FullAttentionSpec"] or groups[0].kv_cache_spec.sliding_window is not None:
            raise UnsupportedError(
                "vLLM runs a plan where all decoder layers see all tokens",
                got=" and ".join(kinds),
                expected="a decoder without sliding windows",
            )
        self._group = groups[0]
        check_backend(self._group.backend.get_name())
        if self._group.backend.forward_includes_kv_cache_update:
            raise UnsupportedError(
                "this attention backend fills the KV cache itself, so that no token can be frozen",
                got=self._group.backend.get_name(),
                remedy="start vLLM with another --attention-backend",
            )
        self._runner = runner

    def of(self, spans: Sequence[Span]) -> Any:
        """The ForwardContext of layers that run for the tokens of these spans, in their order."""
        from vllm.forward_context import get_forward_context
        from vllm.v1.attention.backend import CommonAttentionMetadata

        table, device = self._runner.input_batch.block_table[0], self._runner.device
        lengths = torch.tensor([span.length for span in spans], dtype=torch.int32)
        ends = torch.tensor([span.past + span.length for span in spans], dtype=torch.int32)
        starts = torch.nn.functional.pad(lengths.cumsum(0, dtype=torch.int32), (1, 0))
        rows = torch.tensor([span.row for span in spans]).to(device)
        slots = self.slots(spans)
        metadata = self._group.build_metadata(
            CommonAttentionMetadata(
                query_start_loc=starts.to(device),
                query_start_loc_cpu=starts,
                seq_lens=ends.to(device),
                seq_lens_cpu_upper_bound=ends,
                num_reqs=len(spans),
                num_actual_tokens=len(slots),
                max_query_len=int(lengths.max()),
                max_seq_len=int(ends.max()),
                block_table_tensor=table.get_device_tensor(self._runner.input_batch.num_reqs)[rows],
                slot_mapping=slots,
            )
        )
        names = self._group.layer_names
        return replace(
            get_forward_context(),
            attn_metadata=dict.fromkeys(names, metadata),
            slot_mapping=dict.fromkeys(names, slots),
        )

    def slots(self, spans: Sequence[Span]) -> torch.Tensor:
        """(total length,) cache slots of the tokens, on the device."""
        table = self._runner.input_batch.block_table[0]
        return cache_slots(spans, table.get_cpu_tensor(), table.block_size).to(self._runner.device)

    def fill_cache(self, layer: Any, hidden: torch.Tensor, positions: torch.Tensor, slots: torch.Tensor) -> None:
        """Put keys and values of tokens into a layer's cache that are not queries of it.

        Args:
            layer: vLLM's decoder layer.
            hidden: (k, D), the tokens as they enter the layer.
            positions: (k,) or (3, k) rotary positions.
            slots: (k,) where the cache has them.
        """
        attention = layer.self_attn
        keys, values = rotated_keys_and_values(attention, layer.input_layernorm(hidden), positions)
        inner = attention.attn
        shape = (len(hidden), attention.num_kv_heads, attention.head_dim)
        inner.impl.do_kv_cache_update(inner, keys.view(shape), values.reshape(shape), inner.kv_cache, slots)


def rotated_keys_and_values(
    attention: Any, normed: torch.Tensor, positions: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values (k, H_kv d) of normed states (k, D), as vLLM's attention module makes them."""
    mixed, _ = attention.qkv_proj(normed)
    query, key, value = mixed.split([attention.q_size, attention.kv_size, attention.kv_size], dim=-1)
    if hasattr(attention, "k_norm"):
        key = attention.k_norm(key.reshape(-1, attention.head_dim)).view(key.shape)
    _, key = attention.rotary_emb(positions, query.contiguous(), key.contiguous())
    return key, value
