"""What the runtime has to know about a model family, as data, and the check that a loaded model fits it."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from halfv_core.errors import ModelError
from halfv_core.families.unsupported import UNSUPPORTED
from halfv_core.ranks import Ranks, ranks_of
from halfv_core.registry import Registry
from halfv_core.wrappers import check_modules, plain_model

Rotary = Callable[..., tuple[torch.Tensor, torch.Tensor]]
T = TypeVar("T")


@dataclass(frozen=True)
class Tower:
    """Where the runtime finds a family's vision tower, and how its patches become visual tokens."""

    layers: tuple[str, ...]
    """Dotted path, from the top module, to the tower's list of layers; where versions of transformers differ, several,
    of which the first that exists counts."""
    projector: str
    """Dotted path to the module that makes visual tokens of the tower's states."""
    packed: bool = False
    """Whether the patches of all images form one sequence, in which neighbouring ones become one token, as in the Qwen
    families. Otherwise each image is a row of the batch, and each patch a token; CLIP towers have a CLS token besides.
    """
    tiles: bool = False
    """Whether the core makes tokens of several such rows for each image, by its method `pack_image_features`, which
    moves patches, leaves some out, and adds newline tokens."""
    windows: bool = False
    """Whether the tower puts the patches into the order of its attention windows first."""


@dataclass(frozen=True)
class Family:
    """Where the runtime finds modules and settings in a model of one family.

    A model that fits no registered family can be described by hand and passed as `family=` to `apply` and `calibrate`.
    """

    name: str
    """Name for error messages and listings."""
    decoders: tuple[str, ...]
    """`text_config.model_type` of the decoders that were tested with this family."""
    visual_tokens: tuple[str, ...]
    """Config fields that hold the token ids that stand for visual tokens."""
    core: str = "model"
    """Dotted path, from the top module, to the module whose forward takes `input_ids` and calls the decoder."""
    decoder: str = "model.language_model"
    """Dotted path to the decoder, which has `layers` and the final `norm`."""
    deepstack: str | None = None
    """Name of the decoder's method `(hidden_states, visual_pos_masks, visual_embeds)` that adds features of the vision
    tower to the visual tokens between early layers. These features are not part of a layer's update, so they are added
    after a frozen layer, too."""
    tower: Tower | None = None
    """The vision tower; None if it is not known which patches a visual token is made of."""


FAMILIES: Registry[Family] = Registry("family", ModelError)
"""Families by the `config.model_type` of the checkpoint."""


def register(model_type: str, family: Family) -> None:
    """Register a family under the `model_type` of its checkpoints."""
    FAMILIES.register(model_type)(family)


def family_of(model: PreTrainedModel) -> Family:
    """The registered family of a loaded model.

    Raises:
        ModelError: none is registered for its `config.model_type`; the message says why, if that is known.
    """
    model_type = plain_model(model).config.model_type
    if model_type in UNSUPPORTED:
        raise ModelError(
            f"model_type '{model_type}' is not supported: {UNSUPPORTED[model_type]}",
            expected=f"one of {', '.join(sorted(FAMILIES))}",
        )
    if model_type not in FAMILIES:
        raise ModelError(
            f"no family is registered for model_type '{model_type}'",
            expected=f"one of {', '.join(sorted(FAMILIES))}",
            remedy="describe the model with halfv_core.Family(...) and pass it as family=",
        )
    return FAMILIES[model_type]


@dataclass(frozen=True)
class Parts:
    """The modules and settings of one loaded model that the toolkit uses, all of them checked to exist."""

    core: Any
    decoder: Any
    layers: tuple[Any, ...]
    norm: Any
    head: Any
    rotary: Rotary
    """The family's `apply_rotary_pos_emb(q, k, cos, sin)`."""
    visual_ids: tuple[int, ...]
    """Token ids that stand for visual tokens."""
    deepstack: str | None
    """Name of a method of the decoder, as in `Family`."""
    window: int | None
    """Number of tokens that the decoder's sliding-window layers see; None if it has no such layers."""
    ranks: Ranks
    """The processes that run the model together."""

    @property
    def flash(self) -> bool:
        """Whether the decoder's attention kernel is FlashAttention, which takes padding masks only."""
        return "flash" in self.decoder.config._attn_implementation


_LAYER_PARTS = ("input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")


def parts_of(model: PreTrainedModel, family: Family | None = None) -> Parts:
    """Find every module that the toolkit needs, so that a missing one is reported before the model runs.

    Args:
        model: a loaded model.
        family: its description; by default, the registered family.

    Raises:
        ModelError: a module is missing, or the decoder is of a kind that was not tested.
        UnsupportedError: the model is compiled, sharded or wrapped in a way that leaves nothing to work with.
    """
    model = plain_model(model)
    family = family or family_of(model)
    text_config = model.config.get_text_config()
    if text_config.model_type not in family.decoders:
        raise ModelError(
            f"{family.name} with a '{text_config.model_type}' decoder is not known",
            expected=" or ".join(family.decoders),
            remedy="describe the model with halfv_core.Family(...) and pass it as family=",
        )
    decoder = _find(model, family.decoder, nn.Module)
    if family.deepstack is not None and not callable(getattr(decoder, family.deepstack, None)):
        raise ModelError(f"the model has no {family.decoder}.{family.deepstack}")
    layers = tuple(_find(decoder, "layers", nn.ModuleList))
    for index, layer in enumerate(layers):
        for path in _LAYER_PARTS:
            _find(layer, path, nn.Module, f"{family.decoder}.layers[{index}].")
    check_modules(model, layers)
    return Parts(
        core=_find(model, family.core, nn.Module),
        decoder=decoder,
        layers=layers,
        norm=_find(decoder, "norm", nn.Module),
        head=model.get_output_embeddings(),
        rotary=_rotary(layers[0]),
        visual_ids=_visual_ids(model, family),
        deepstack=family.deepstack,
        window=_window(text_config),
        ranks=ranks_of(model, _find(layers[0], "self_attn.q_proj", nn.Module)),
    )


def _find(root: nn.Module, path: str, kind: type[T], prefix: str = "") -> T:
    found: object = root
    for name in path.split("."):
        found = getattr(found, name, None)
    if not isinstance(found, kind):
        raise ModelError(f"the model has no {prefix}{path}", got=type(found).__name__, expected=kind.__name__)
    return found


def _window(text_config: PreTrainedConfig) -> int | None:
    window: int | None = getattr(text_config, "sliding_window", None)
    kinds = set(getattr(text_config, "layer_types", None) or ["sliding_attention" if window else "full_attention"])
    unknown = kinds - {"full_attention", "sliding_attention"}
    if unknown:
        raise ModelError(
            "the decoder has layers of a kind that is not supported",
            got=", ".join(sorted(unknown)),
            expected="full_attention or sliding_attention",
        )
    return window if "sliding_attention" in kinds else None


def _rotary(layer: nn.Module) -> Rotary:
    module = type(getattr(layer.self_attn, "_orig_mod", layer.self_attn)).__module__  # if it is compiled
    function = getattr(sys.modules[module], "apply_rotary_pos_emb", None)
    if function is None:
        raise ModelError(f"{module} has no apply_rotary_pos_emb", remedy="pip install 'transformers>=5.17'")
    return function  # type: ignore[no-any-return]


def _visual_ids(model: PreTrainedModel, family: Family) -> tuple[int, ...]:
    ids = tuple(getattr(model.config, field, None) for field in family.visual_tokens)
    found = tuple(token for token in ids if isinstance(token, int))
    if not found:
        raise ModelError(f"the config names no visual token; looked for {', '.join(family.visual_tokens)}")
    return found
