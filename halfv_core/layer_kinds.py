"""Kinds of decoder layers that are not plain attention, as configs describe them: their sizes, and which they are."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


class Latent(NamedTuple):
    """Sizes of multi-head latent attention (arXiv 2405.04434)."""

    heads: int
    query_rank: int | None
    """None if queries are made by one matrix."""
    kv_rank: int
    nope: int
    """Dimensions of a head that are not rotated."""
    rope: int
    value: int

    @classmethod
    def of(cls, config: "PreTrainedConfig") -> "Latent | None":
        """Read the sizes from a decoder's config; None if it has no latent attention."""
        rank = getattr(config, "kv_lora_rank", None)
        if not rank:
            return None
        return cls(
            heads=config.num_attention_heads,
            query_rank=config.q_lora_rank,
            kv_rank=rank,
            nope=config.qk_nope_head_dim,
            rope=config.qk_rope_head_dim,
            value=config.v_head_dim,
        )

    def query_weights(self, hidden: int) -> int:
        """Of the projections to queries and of the heads' output."""
        width = self.heads * (self.nope + self.rope)
        queries = hidden * width if self.query_rank is None else self.query_rank * (hidden + width)
        return queries + hidden * self.heads * self.value

    def kv_weights(self, hidden: int) -> int:
        """Of the projections to latents, and from them to keys and values."""
        return hidden * self.cached + self.kv_rank * self.heads * (self.nope + self.value)

    @property
    def cached(self) -> int:
        """Numbers that are cached for a token."""
        return self.kv_rank + self.rope

    @property
    def pair_width(self) -> int:
        """Multiply-adds for one query and one key, over all heads."""
        return self.heads * (self.nope + self.rope + self.value)


RECURRENT = ("linear_attention", "conv")
"""Kinds of layers (`layer_types` in configs) that keep a running state of fixed size."""


def recurrent_layers(config: "PreTrainedConfig") -> frozenset[int]:
    """Indices of a decoder's layers that keep a running state instead of keys and values."""
    kinds = getattr(config, "layer_types", None) or ()
    return frozenset(layer for layer, kind in enumerate(kinds) if kind in RECURRENT)


def sliding_layers(config: "PreTrainedConfig") -> frozenset[int]:
    """Indices of a decoder's layers that see a sliding window only."""
    kinds = getattr(config, "layer_types", None)
    if kinds is None:  # then all layers are alike
        return frozenset(range(config.num_hidden_layers if getattr(config, "sliding_window", None) else 0))
    return frozenset(layer for layer, kind in enumerate(kinds) if kind == "sliding_attention")


def mixer_weights(config: "PreTrainedConfig") -> int:
    """Weights of the projections of a layer with a running state: of gated delta nets, or of short convolutions."""
    hidden: int = config.hidden_size
    if getattr(config, "linear_num_value_heads", None) is None:
        return 4 * hidden * hidden
    keys: int = config.linear_num_key_heads * config.linear_key_head_dim
    values: int = config.linear_num_value_heads * config.linear_value_head_dim
    return hidden * (2 * keys + 3 * values)
