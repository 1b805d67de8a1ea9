"""FLOPs and KV-cache bytes of a decoder, with and without a plan: pure arithmetic.

A multiply-add counts as 2 FLOPs. Counted are the decoder's projections, its MLP (three matrices), and attention over
the full square of queries and keys; not counted are vision tower, projector, norms, LM head, routers of experts and the
selection of tokens. Of a mixture of experts the active ones count, as a mean over the layers where some are dense. For
a layer of n tokens, width d, query width d_q, key/value width d_kv (grouped queries) and MLP width m:

    dense   2 n (2 d d_q + 2 d d_kv + 3 d m) + 4 n^2 d_q
    frozen  2 t (2 d d_q + 3 d m) + 4 n d d_kv + 4 t n d_q        t of the n tokens are updated

With d_q = d and d_kv = d these are the formulas of ShortV (arXiv 2504.00502, table 1). Latent attention has the sizes
of its low-rank projections instead, and caches the latents; that they are expanded again for each new token is not
counted. A layer with a running state (linear attention, short convolution) costs its projections and its MLP for every
token that is there, frozen or not, and caches nothing that grows.

Papers often count visual tokens only, as if the prompt had no text; `Cost.visual_flops` follows that convention.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from statistics import fmean
from typing import TYPE_CHECKING, Any, NamedTuple

from halfv_core.layer_kinds import Latent, mixer_weights, recurrent_layers, sliding_layers
from halfv_core.plan import Plan

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


@dataclass(frozen=True)
class DecoderShape:
    """The sizes of a decoder that its cost depends on."""

    layers: int
    hidden: int
    query_width: int
    """Query heads times head_dim."""
    kv_width: int
    """Key/value heads times head_dim."""
    mlp: int
    """Width of the MLP that a token goes through."""
    value_bytes: int
    """Bytes of one number in the KV cache."""
    by_layer: tuple[tuple[int, int], ...] = ()
    """Query and key/value width of each layer, if they are not all those above."""
    latent: Latent | None = None
    """Sizes of latent attention (MLA), whose query and key/value widths are not those above."""
    recurrent: frozenset[int] = frozenset()
    """Indices of layers with a running state instead of keys and values."""
    sliding: frozenset[int] = frozenset()
    """Indices of layers whose caches drop what is out of the window."""
    window: int = 0
    """Tokens that such a layer sees."""
    mixer: int = 0
    """Weights of the projections of such a layer."""

    @classmethod
    def of(cls, text_config: "PreTrainedConfig", value_bytes: int) -> "DecoderShape":
        """Read the sizes from a decoder's config; `value_bytes` is the size of one number in the KV cache."""
        widths, recurrent = _head_widths(text_config), recurrent_layers(text_config)
        return cls(
            layers=text_config.num_hidden_layers,
            hidden=text_config.hidden_size,
            query_width=widths[0][0],
            kv_width=widths[0][1],
            by_layer=widths if len(set(widths)) > 1 else (),
            mlp=_active_mlp(text_config),
            value_bytes=value_bytes,
            latent=Latent.of(text_config),
            recurrent=recurrent,
            sliding=sliding_layers(text_config),
            window=getattr(text_config, "sliding_window", None) or 0,
            mixer=mixer_weights(text_config) if recurrent else 0,
        )

    @property
    def first_ranked(self) -> int:
        """The first layer before which tokens can be ranked by the attention of a layer; 1 in most decoders."""
        return 1 + next(layer for layer in range(self.layers) if layer not in self.recurrent)

    def prefill_flops(self, tokens: "LayerTokens", layer: int = 0) -> int:
        """FLOPs of a layer for the prompt."""
        n = tokens.visual + tokens.text
        if layer in self.recurrent:
            return 2 * n * (self.mixer + 3 * self.hidden * self.mlp)
        queries = n - tokens.frozen
        to_queries, to_keys, pair = self._weights(layer)
        linear = 2 * queries * (to_queries + 3 * self.hidden * self.mlp)
        return linear + 2 * n * to_keys + 2 * queries * (n + tokens.past) * pair

    def decode_flops(self, keys: int, layer: int = 0) -> int:
        """FLOPs of a layer for one new token that sees `keys` keys, its own included."""
        if layer in self.recurrent:
            return 2 * (self.mixer + 3 * self.hidden * self.mlp)
        to_queries, to_keys, pair = self._weights(layer)
        return 2 * (to_queries + to_keys + 3 * self.hidden * self.mlp) + 2 * keys * pair

    def kv_bytes(self, tokens: int, layer: int = 0) -> int:
        """Bytes that a layer's cache holds for `tokens` tokens."""
        if layer in self.recurrent:
            return 0
        tokens = min(tokens, self.window - 1) if layer in self.sliding else tokens
        numbers = 2 * self._widths(layer)[1] if self.latent is None else self.latent.cached
        return tokens * numbers * self.value_bytes

    def _widths(self, layer: int) -> tuple[int, int]:
        """Query and key/value width of a layer."""
        return self.by_layer[layer] if self.by_layer else (self.query_width, self.kv_width)

    def _weights(self, layer: int) -> tuple[int, int, int]:
        """Weights of the projections to queries and of the output; to keys and values; multiply-adds of a pair."""
        if self.latent is not None:
            return self.latent.query_weights(self.hidden), self.latent.kv_weights(self.hidden), self.latent.pair_width
        queries, keys = self._widths(layer)
        return 2 * self.hidden * queries, 2 * self.hidden * keys, 2 * queries


def _head_widths(config: "PreTrainedConfig") -> tuple[tuple[int, int], ...]:
    """Query and key/value width of each layer."""
    try:
        return (_head_width(config),) * int(config.num_hidden_layers)
    except RuntimeError:  # of configs whose layers differ, where a value for all of them is no answer
        return tuple(_head_width(layer) for layer in config.per_layer_config)


def _head_width(config: "PreTrainedConfig") -> tuple[int, int]:
    heads: int = config.num_attention_heads
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return heads * head_dim, (getattr(config, "num_key_value_heads", None) or heads) * head_dim


def _active_mlp(config: "PreTrainedConfig") -> int:
    """Width of the MLP that a token goes through: in layers of experts, all those that are active together."""

    def of(*names: str, default: Any = None) -> Any:
        """The first of these fields that says something; model classes have names of their own for the same."""
        return next((value for name in names if (value := getattr(config, name, None)) is not None), default)

    experts = of("num_experts_per_tok", "moe_k", "moe_topk", default=0)
    if not experts or not of("num_experts", "n_routed_experts", "moe_num_experts", "num_local_experts", default=0):
        return int(config.intermediate_size)
    own: int = of("intermediate_size", default=0)  # of layers without experts
    widths = of("moe_intermediate_size", default=own)
    width = fmean(widths) if isinstance(widths, list | tuple) else widths
    shared = of("shared_expert_intermediate_size", default=0)
    shared = shared or width * of("n_shared_experts", "moe_num_shared_experts", default=0)
    dense = _dense_layers(config) / config.num_hidden_layers
    mean: float = dense * own + (1 - dense) * (experts * width + shared)
    return round(mean)


def _dense_layers(config: "PreTrainedConfig") -> int:
    """Number of layers without experts, of a decoder that has some with."""
    kinds = getattr(config, "mlp_layer_types", None)
    if kinds is not None:
        return sum(kind == "dense" for kind in kinds)
    first = getattr(config, "first_k_dense_replace", None) or getattr(config, "moe_layer_start_index", None) or 0
    step, only = getattr(config, "decoder_sparse_step", None) or 1, getattr(config, "mlp_only_layers", None) or ()
    layers = range(config.num_hidden_layers)
    return sum(layer < first or layer in only or (layer + 1) % step != 0 for layer in layers)


class LayerTokens(NamedTuple):
    """Tokens that go through one decoder layer in the prefill of one prompt."""

    visual: int
    text: int
    frozen: int = 0
    """How many of the visual tokens are keys and values only, not updated."""
    past: int = 0
    """Tokens of earlier turns in the layer's cache."""
    absent: int = 0
    """Visual tokens of the prompt that do not go through the layer."""
    past_absent: int = 0
    """Tokens of earlier turns that the layer's cache does not hold."""
    uncached: int = 0
    """Visual tokens that go through the layer and are then taken out of its cache."""


def tokens_by_layer(plan: Plan, layers: int, visual: int, text: int) -> tuple[LayerTokens, ...]:
    """Tokens in each of the `layers` layers for a prompt of `visual` visual and `text` text tokens under a plan.

    What is decided in the run is not known here: a When counts as if its rule never held, and a selector that decides
    how many tokens it keeps as if it kept all (see `Plan.is_known_beforehand`).
    """
    kept, rows = visual, []
    keeps = {keep.layer: keep for keep in plan.keeps}
    freezes = {layer: item for item in plan.freezes for layer in item.layers}
    hides = {layer: item for item in plan.hides for layer in item.layers}
    for layer in range(layers):
        if layer in keeps:
            kept = keeps[layer].remaining(visual, kept)
        present = min(hides[layer].count(visual), kept) if layer in hides else kept
        frozen = present - min(freezes[layer].count(visual), present) if layer in freezes else 0
        rows.append(LayerTokens(present, text, frozen, absent=visual - present))
    everywhere = max((keep.layer for keep in plan.keeps if keep.cache == "everywhere"), default=0)
    left = visual - rows[everywhere].absent
    return tuple(
        row._replace(uncached=max(0, row.visual - left)) if layer < everywhere else row
        for layer, row in enumerate(rows)
    )


@dataclass(frozen=True)
class Cost:
    """Cost of one prompt and of the tokens generated after it, with and without the plan (`_full`)."""

    prefill_flops: int
    prefill_flops_full: int
    visual_flops: int
    """Prefill of the visual tokens alone, as if the prompt had no text."""
    visual_flops_full: int
    decode_flops: int
    decode_flops_full: int
    kv_bytes: int
    """Bytes of keys and values after the last token."""
    kv_bytes_full: int

    def __add__(self, other: "Cost") -> "Cost":
        """Total of two prompts, or of two turns."""
        return Cost(**{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)})

    @property
    def flops_ratio(self) -> float:
        """Prefill FLOPs without the plan divided by those with it; 4.0 means "four times fewer"."""
        return self.prefill_flops_full / self.prefill_flops

    @property
    def visual_flops_ratio(self) -> float:
        """The same for visual tokens alone, as papers count; 1 if there are no visual tokens."""
        return self.visual_flops_full / self.visual_flops if self.visual_flops else 1.0

    @property
    def kv_ratio(self) -> float:
        """KV-cache bytes without the plan divided by those with it."""
        return self.kv_bytes_full / self.kv_bytes


def cost_of(shape: DecoderShape, rows: Sequence[LayerTokens], new_tokens: int = 0) -> Cost:
    """Cost of one prompt (or turn) and of the tokens decoded after it.

    Args:
        shape: sizes of the decoder.
        rows: for each layer, the tokens of the prompt that went through it.
        new_tokens: number of tokens that were fed one by one after the prompt.
    """
    full = [LayerTokens(row.visual + row.absent, row.text, past=row.past + row.past_absent) for row in rows]
    layers = range(len(rows))
    return Cost(
        prefill_flops=sum(map(shape.prefill_flops, rows, layers)),
        prefill_flops_full=sum(map(shape.prefill_flops, full, layers)),
        visual_flops=sum(map(shape.prefill_flops, map(_visual_alone, rows), layers)),
        visual_flops_full=sum(map(shape.prefill_flops, map(_visual_alone, full), layers)),
        decode_flops=sum(_decoding(shape, row, new_tokens, layer) for layer, row in enumerate(rows)),
        decode_flops_full=sum(_decoding(shape, row, new_tokens, layer) for layer, row in enumerate(full)),
        kv_bytes=sum(shape.kv_bytes(_cached(row) + new_tokens, layer) for layer, row in enumerate(rows)),
        kv_bytes_full=sum(shape.kv_bytes(_cached(row) + new_tokens, layer) for layer, row in enumerate(full)),
    )


def _visual_alone(row: LayerTokens) -> LayerTokens:
    return row._replace(text=0, past=0)


def _decoding(shape: DecoderShape, row: LayerTokens, new_tokens: int, layer: int) -> int:
    return sum(shape.decode_flops(_cached(row) + number, layer) for number in range(1, new_tokens + 1))


def _cached(row: LayerTokens) -> int:
    return row.past + row.visual + row.text - row.uncached
