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
from halfv_core.serving.vllm.requests import Span, cache_entries_of, cache_slots
from halfv_core.serving.vllm.settings import check_backend


class LayerGroup:
    """The attention of layers that have one block table in common."""

    def __init__(self, runner: Any, group: Any) -> None:
        """Take a GPUModelRunner whose KV cache is initialised, and one of its attention groups.

        Raises:
            UnsupportedError: the layers' kind of cache or their backend has not been tried.
        """
        kind = type(group.kv_cache_spec).__name__
        if kind not in ("FullAttentionSpec", "PrunedSpec") or group.kv_cache_spec.sliding_window is not None:
            raise UnsupportedError(
                "vLLM runs a plan where all decoder layers see all tokens",
                got=kind,
                expected="a decoder without sliding windows",
            )
        check_backend(group.backend.get_name())
        if group.backend.forward_includes_kv_cache_update:
            raise UnsupportedError(
                "this attention backend fills the KV cache itself, so that no token can be frozen",
                got=group.backend.get_name(),
                remedy="start vLLM with another --attention-backend",
            )
        self._runner = runner
        self._group = group

    def context(self, queries: "Queries") -> Any:
        """The ForwardContext of these layers when they run for some tokens."""
        from vllm.forward_context import get_forward_context
        from vllm.v1.attention.backend import CommonAttentionMetadata

        slots = self.slots(queries)
        metadata = self._group.build_metadata(
            CommonAttentionMetadata(
                query_start_loc=queries.starts,
                query_start_loc_cpu=queries.starts_cpu,
                seq_lens=queries.ends,
                seq_lens_cpu_upper_bound=queries.ends_cpu,
                num_reqs=len(queries.rows),
                num_actual_tokens=len(slots),
                max_query_len=queries.longest,
                max_seq_len=queries.furthest,
                block_table_tensor=self._blocks[queries.rows],
                slot_mapping=slots,
            )
        )
        names = self._group.layer_names
        return replace(
            get_forward_context(),
            attn_metadata=dict.fromkeys(names, metadata),
            slot_mapping=dict.fromkeys(names, slots),
        )

    def slots(self, queries: "Queries") -> torch.Tensor:
        """(n,) where the layers' cache has the tokens, on the device."""
        return cache_slots(queries.row_of_each, queries.entries, self._blocks, self._table.block_size)

    @property
    def _table(self) -> Any:
        return self._runner.input_batch.block_table[self._group.kv_cache_group_id]

    @property
    def _blocks(self) -> torch.Tensor:
        """(requests, b) numbers of each request's blocks."""
        blocks: torch.Tensor = self._table.get_device_tensor(self._runner.input_batch.num_reqs)
        return blocks


def groups_of(runner: Any, layers: Sequence[str]) -> list[LayerGroup]:
    """The group of each layer, by the layers' names; see `LayerGroup` for what is raised."""
    found = {}
    for group in (group for groups in runner.attn_groups for group in groups):
        found.update(dict.fromkeys(group.layer_names, LayerGroup(runner, group)))
    return [found[name] for name in layers]


class Queries:
    """n tokens that go through some layers, with what vLLM's attention has to know of them in each group of these."""

    def __init__(self, spans: Sequence[Span], device: torch.device) -> None:
        """Lay out the tokens of these spans, in their order."""
        ends = [span.past + span.length for span in spans]
        lengths = torch.tensor([0, *(span.length for span in spans)], dtype=torch.int32)
        self.starts_cpu = lengths.cumsum(0, dtype=torch.int32)
        """(spans + 1,) index of each span's first token, and n."""
        self.ends_cpu = torch.tensor(ends, dtype=torch.int32)
        """(spans,) entries of the cache that each span's last token sees."""
        self.starts, self.ends = self.starts_cpu.to(device), self.ends_cpu.to(device)
        self.longest, self.furthest = int(lengths.max()), max(ends)
        self.rows = torch.tensor([span.row for span in spans]).to(device)
        """(spans,) rows of the block table."""
        row_of_each, entries = cache_entries_of(spans)
        self.row_of_each, self.entries = row_of_each.to(device), entries.to(device)
        """(n,) the row of each token, and its entry in the cache."""
        self._contexts: dict[LayerGroup, Any] = {}
        self._slots: dict[LayerGroup, torch.Tensor] = {}

    def context(self, group: LayerGroup) -> Any:
        """The ForwardContext of a group's layers when they run for these tokens."""
        if group not in self._contexts:
            self._contexts[group] = group.context(self)
        return self._contexts[group]

    def slots(self, group: LayerGroup) -> torch.Tensor:
        """(n,) where a group's cache has these tokens, on the device."""
        if group not in self._slots:
            self._slots[group] = group.slots(self)
        return self._slots[group]


def fill_cache(layer: Any, hidden: torch.Tensor, positions: torch.Tensor, slots: torch.Tensor) -> None:
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
