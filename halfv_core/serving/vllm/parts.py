"""vLLM's layers with the names and forms of transformers', so that the code that chooses tokens is the same.

vLLM has one projection for queries, keys and values together, kernels of its own for norms and rotary positions, and on
a CPU it packs weights so that they cannot be read.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm, apply_rotary_pos_emb

from halfv_core.families.admission import Pair
from halfv_core.families.base import Parts
from halfv_core.ranks import ALONE, Ranks


def parts_of_decoder(decoder: Any, layers: Sequence[int]) -> Parts:
    """What choosing tokens needs of a decoder of vLLM.

    Args:
        decoder: one of the classes in `DECODERS`, loaded.
        layers: those whose attention may be looked at; the others are None.
    """
    wanted = set(layers)
    return Parts(
        core=None,
        decoder=decoder,
        layers=tuple(_Layer(layer) if index in wanted else None for index, layer in enumerate(decoder.layers)),
        norm=_norm(decoder.norm),
        head=None,
        is_plain=True,
        rotary=apply_rotary_pos_emb,
        visual_ids=(),
        deepstack=None,
        recurrent=frozenset(),
        sliding=frozenset(),
        window=None,
        ranks=_ranks(),
        pair=Pair.of(decoder, decoder),
        is_tested=True,
    )


def rotary_tables(layer: Any, positions: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotary cosines and sines as vLLM's layer applies them, whichever kind of positions its model has.

    A query of ones in the first half of a head, and zeros in the second, is rotated to (cosines, sines).

    Args:
        layer: vLLM's decoder layer.
        positions: (n,) or (3, n).
        like: a tensor of the model's dtype, on its device.

    Returns:
        (n, head_dim) each.
    """
    attention = layer.self_attn
    probe = like.new_zeros(positions.shape[-1], attention.head_dim)
    probe[:, : attention.head_dim // 2] = 1
    turned, _ = attention.rotary_emb(positions, probe, probe.clone())
    cos, sin = turned.chunk(2, dim=-1)
    return torch.cat([cos, cos], -1), torch.cat([sin, sin], -1)


class _Layer(nn.Module):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.input_layernorm = _norm(layer.input_layernorm)
        self.self_attn = _Attention(layer.self_attn)


class _Attention(nn.Module):
    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.head_dim: int = attention.head_dim
        self.scaling: float = attention.scaling
        self.num_key_value_groups: int = attention.num_heads // attention.num_kv_heads
        if hasattr(attention, "k_norm"):
            self.q_norm, self.k_norm = _norm(attention.q_norm), _norm(attention.k_norm)
        self._mixed: Callable[[torch.Tensor], tuple[torch.Tensor, Any]] = attention.qkv_proj
        self._sizes = [attention.q_size, attention.kv_size, attention.kv_size]
        self.k_proj = _key_projection(attention)

    def q_proj(self, normed: torch.Tensor) -> torch.Tensor:
        return self._part(normed, 0)

    def v_proj(self, normed: torch.Tensor) -> torch.Tensor:
        return self._part(normed, 2)

    def _part(self, normed: torch.Tensor, part: int) -> torch.Tensor:
        mixed, _ = self._mixed(normed.reshape(-1, normed.shape[-1]))
        own: torch.Tensor = mixed.split(self._sizes, dim=-1)[part].reshape(*normed.shape[:-1], -1)
        return own


def _key_projection(attention: Any) -> nn.Linear:
    """The projection to keys by itself, whose weights the ranking of tokens reads.

    The product with the identity is the matrix, exactly: each of its sums has one term.
    """
    mixed, start, end = attention.qkv_proj, attention.q_size, attention.q_size + attention.kv_size
    norm = attention.hidden_size
    like = next(attention.parameters())
    identity = torch.eye(norm, dtype=like.dtype, device=like.device)
    with torch.no_grad():
        matrix = mixed.quant_method.apply(mixed, identity, None)[:, start:end].T.contiguous()
    bias = mixed.bias
    project = nn.Linear(norm, attention.kv_size, bias=bias is not None, dtype=matrix.dtype, device=matrix.device)
    project.weight = nn.Parameter(matrix, requires_grad=False)
    if bias is not None:
        project.bias = nn.Parameter(bias.detach()[start:end].to(matrix.dtype), requires_grad=False)
    return project


def _norm(norm: Any) -> LlamaRMSNorm:
    """vLLM's RMSNorm in plain torch, in float32 inside, with the same weights."""
    made = LlamaRMSNorm(norm.weight.shape[0], norm.variance_epsilon)
    made.weight = norm.weight
    return made


def _ranks() -> Ranks:
    from vllm.distributed import get_tp_group

    group = get_tp_group()
    return Ranks(group.device_group) if group.world_size > 1 else ALONE
