"""The modules and settings of a loaded model, found by its family's description and checked to exist."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from halfv_core.errors import ModelError, UnsupportedError
from halfv_core.families.admission import Pair
from halfv_core.families.description import FAMILIES, PLAIN_DECODERS, Family, Tower, register
from halfv_core.families.discovery import discovered
from halfv_core.families.unsupported import UNSUPPORTED
from halfv_core.layer_kinds import RECURRENT, recurrent_layers, sliding_layers
from halfv_core.ranks import Ranks, ranks_of
from halfv_core.wrappers import check_modules, plain_model

Rotary = Callable[..., tuple[torch.Tensor, torch.Tensor]]
T = TypeVar("T")


__all__ = ["FAMILIES", "Family", "Parts", "Rotary", "Tower", "family_of", "parts_of", "register"]


def family_of(model: PreTrainedModel) -> Family:
    """The registered family of a loaded model; if there is none, a description of it by its structure.

    Raises:
        ModelError: the model cannot be handled, or its structure is not understood; the message says why.
    """
    model_type = plain_model(model).config.model_type
    if model_type in UNSUPPORTED:
        raise ModelError(
            f"model_type '{model_type}' is not supported: {UNSUPPORTED[model_type]}",
            expected=f"one of {', '.join(sorted(FAMILIES))}",
        )
    return FAMILIES[model_type] if model_type in FAMILIES else discovered(plain_model(model))


@dataclass(frozen=True)
class Parts:
    """The modules and settings of one loaded model that the toolkit uses, all of them checked to exist."""

    core: Any
    decoder: Any
    layers: tuple[Any, ...]
    norm: Any
    head: Any
    is_plain: bool
    """Whether each layer makes its queries, keys and values with `q_proj`, `k_proj` and `v_proj` behind an
    `input_layernorm`, and rotates all dimensions of them by `rotary`. Other layers are run for what they make."""
    rotary: Rotary | None
    """The `apply_rotary_pos_emb(q, k, cos, sin)` of a plain decoder."""
    visual_ids: tuple[int, ...]
    """Token ids that stand for visual tokens."""
    deepstack: str | None
    """Name of a method of the decoder, as in `Family`."""
    recurrent: frozenset[int]
    """Indices of layers that keep a running state of fixed size instead of keys and values: linear attention, short
    convolutions. All tokens that are there go through them, in order."""
    sliding: frozenset[int]
    """Indices of the layers that see a sliding window only."""
    window: int | None
    """Number of tokens that the decoder's sliding-window layers see; None if it has no such layers."""
    ranks: Ranks
    """The processes that run the model together."""
    pair: Pair
    """The classes of the model and of its decoder."""
    is_tested: bool
    """Whether this decoder in this family has tests of its own, or was described by hand. Other pairs have to be proven
    first; see halfv_core.families.admission."""

    def check_plain(self, what: str) -> None:
        """Raise UnsupportedError if the decoder is not plain.

        Args:
            what: that needs to know the layers, for the message.
        """
        if not self.is_plain:
            raise UnsupportedError(
                f"{what} needs to know how the decoder's layers are made",
                got=type(self.decoder).__name__,
                expected="the decoder of a registered family",
            )

    @property
    def first_attention(self) -> int:
        """Index of the first layer that keeps keys and values."""
        return next(layer for layer in range(len(self.layers)) if layer not in self.recurrent)

    @property
    def flash(self) -> bool:
        """Whether the decoder's attention kernel is FlashAttention, which takes padding masks only."""
        return "flash" in self.decoder.config._attn_implementation


_PLAIN_PARTS = ("input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")


def parts_of(model: PreTrainedModel, family: Family | None = None) -> Parts:
    """Find every module that the toolkit needs, so that a missing one is reported before the model runs.

    Args:
        model: a loaded model.
        family: its description; by default, the registered family, or what its structure says.

    Raises:
        ModelError: a module is missing, or the decoder is of a kind that cannot be handled.
        UnsupportedError: the model is compiled, sharded or wrapped in a way that leaves nothing to work with.
    """
    model, by_hand = plain_model(model), family is not None
    family = family or family_of(model)
    text_config = model.config.get_text_config()
    is_named = text_config.model_type in family.decoders
    if by_hand and not is_named:
        raise ModelError(
            f"{family.name} with a '{text_config.model_type}' decoder is not known",
            expected=" or ".join(family.decoders),
            remedy="describe the model with halfv_core.Family(...) and pass it as family=",
        )
    decoder = _find(model, family.decoder, nn.Module)
    if family.deepstack is not None and not callable(getattr(decoder, family.deepstack, None)):
        raise ModelError(f"the model has no {family.decoder}.{family.deepstack}")
    layers = tuple(_find(decoder, "layers", nn.ModuleList))
    is_plain = text_config.model_type in PLAIN_DECODERS
    _check_kinds(text_config)
    for index, layer in enumerate(layers):
        for path in _PLAIN_PARTS if is_plain else ():
            _find(layer, path, nn.Module, f"{family.decoder}.layers[{index}].")
    check_modules(model, layers)
    return Parts(
        core=_find(model, family.core, nn.Module),
        decoder=decoder,
        layers=layers,
        norm=_find(decoder, family.norm, nn.Module),
        head=model.get_output_embeddings(),
        is_plain=is_plain,
        rotary=_rotary(layers[0]) if is_plain else None,
        visual_ids=_visual_ids(model, family),
        deepstack=family.deepstack,
        recurrent=recurrent_layers(text_config),
        sliding=sliding_layers(text_config),
        window=text_config.sliding_window if sliding_layers(text_config) else None,
        ranks=ranks_of(model, layers[0]),
        pair=Pair.of(model, decoder),
        is_tested=by_hand or (is_named and model.config.model_type in FAMILIES),
    )


def _find(root: nn.Module, path: str, kind: type[T], prefix: str = "") -> T:
    found: object = root
    for name in path.split("."):
        found = getattr(found, name, None)
    if not isinstance(found, kind):
        raise ModelError(f"the model has no {prefix}{path}", got=type(found).__name__, expected=kind.__name__)
    return found


_KINDS = ("full_attention", "sliding_attention", *RECURRENT)


def _check_kinds(text_config: PreTrainedConfig) -> None:
    """Raise ModelError for layers of a kind that is not supported."""
    if getattr(text_config, "num_kv_shared_layers", 0):
        raise ModelError(
            "the decoder's last layers read the keys and values of earlier ones, which hold other tokens after pruning",
            got=f"num_kv_shared_layers {text_config.num_kv_shared_layers}",
            expected="a checkpoint in which each layer has its own, such as the larger ones of Gemma 4",
        )
    unknown = set(getattr(text_config, "layer_types", None) or ()) - set(_KINDS)
    if unknown:
        raise ModelError(
            "the decoder has layers of a kind that is not supported",
            got=", ".join(sorted(unknown)),
            expected=", ".join(_KINDS),
        )


def _rotary(layer: nn.Module) -> Rotary:
    module = type(getattr(layer.self_attn, "_orig_mod", layer.self_attn)).__module__  # if it is compiled
    function = getattr(sys.modules[module], "apply_rotary_pos_emb", None)
    if function is None:
        raise ModelError(f"{module} has no apply_rotary_pos_emb", remedy="pip install 'transformers>=5.17'")
    return function  # type: ignore[no-any-return]


def _visual_ids(model: PreTrainedModel, family: Family) -> tuple[int, ...]:
    ids = tuple(getattr(model.config, field, None) for field in family.visual_tokens)
    found = tuple(dict.fromkeys(token for token in ids if isinstance(token, int)))
    if not found:
        raise ModelError(f"the config names no visual token; looked for {', '.join(family.visual_tokens)}")
    return found
