"""What the runtime has to know about a model family, as data, and the families that are registered."""

from dataclasses import dataclass

from halfv_core.errors import ModelError
from halfv_core.registry import Registry


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
    """Dotted path to the decoder, which has `layers` and a final norm."""
    norm: str = "norm"
    """Name of the final norm in the decoder."""
    deepstack: str | None = None
    """Name of the decoder's method `(hidden_states, visual_pos_masks, visual_embeds)` that adds features of the vision
    tower to the visual tokens between early layers. These features are not part of a layer's update, so they are added
    after a frozen layer, too."""
    tower: Tower | None = None
    """The vision tower; None if it is not known which patches a visual token is made of."""


FAMILIES: Registry[Family] = Registry("family", ModelError)
"""Families by the `config.model_type` of the checkpoint."""


PLAIN_DECODERS = frozenset(
    (
        *("gemma3_text", "llama", "mistral", "qwen2", "qwen3"),
        *("qwen2_vl_text", "qwen2_5_vl_text", "qwen3_vl_text", "qwen3_vl_moe_text", "paddleocr_vl_text"),
        *("aria_text", "cosmos3_edge_text", "deepseek_ocr2_text", "qwen2_5_omni_text", "qwen3_omni_moe_text"),
    )
)
"""`model_type` of the decoders whose layers are plain (see `Parts.is_plain`), as the tests show. What the others make
before attention is not known here, and need not be."""


def register(model_type: str, family: Family) -> None:
    """Register a family under the `model_type` of its checkpoints."""
    FAMILIES.register(model_type)(family)
