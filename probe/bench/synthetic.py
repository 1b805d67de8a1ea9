"""The shapes of real models as data, and models of these shapes with random weights, without hub or checkpoint.

model = random_model(config_of("qwen2.5-vl-7b"), layers=8, vision_layers=8)

The files in `shapes/` hold the sizes in the checkpoints' config.json (Qwen/Qwen2.5-VL-*-Instruct,
llava-hf/llava-1.5-*-hf, llava-hf/llava-v1.6-mistral-7b-hf); the parameter counts match the published ones.
"""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel

from halfv_core.checkpoint_size import check_counts, described_size
from halfv_core.devices import memory_of
from halfv_core.errors import HalfVError, ModelError
from halfv_core.failures import is_out_of_memory, reason_of
from halfv_core.hub import hub_answers
from halfv_core.models import resolve

_FOLDER = Path(__file__).parent / "shapes"


def shipped_shapes() -> dict[str, Path]:
    """Name -> file, for the shapes that come with the package."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.json"))}


def config_of(name: str, *, trust_remote_code: bool = False) -> PreTrainedConfig:
    """The config of a shipped shape, a bundled model, a folder or a hub id, tried in this order.

    Raises:
        ModelError: the name is none of these, or the config cannot be read.
    """
    shapes = shipped_shapes()
    if name in shapes:
        return AutoConfig.for_model(**json.loads(shapes[name].read_text(encoding="utf-8")))
    source = resolve(name)
    check_counts(name, Path(source) / "config.json")
    offline = Path(source).is_dir() or not hub_answers()
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            source, local_files_only=offline, trust_remote_code=trust_remote_code
        )
    except Exception as error:
        raise ModelError(
            f"no config of '{name}' ({reason_of(error)})", expected=f"a folder, or a shipped shape: {', '.join(shapes)}"
        ) from None
    return config


def sliced(config: PreTrainedConfig, layers: int | None = None, vision_layers: int | None = None) -> PreTrainedConfig:
    """Cut a config down to the first layers of its decoder and its vision tower.

    A vision tower that mixes full and windowed attention keeps at least one layer of full attention, its last.

    Args:
        config: changed in place.
        layers, vision_layers: numbers of layers to keep; None keeps all.

    Raises:
        ModelError: more layers than the model has, or fewer than one.
    """
    text, vision = config.get_text_config(), config.vision_config
    if layers is not None:
        _check("decoder", layers, text.num_hidden_layers)
        text.num_hidden_layers = layers
        if getattr(text, "layer_types", None):
            text.layer_types = text.layer_types[:layers]
    if vision_layers is not None:
        depth = depth_name(vision)
        _check("vision tower", vision_layers, getattr(vision, depth))
        setattr(vision, depth, vision_layers)
        if getattr(vision, "fullatt_block_indexes", None):
            full = [index for index in vision.fullatt_block_indexes if index < vision_layers]
            vision.fullatt_block_indexes = full or [vision_layers - 1]
        if getattr(vision, "deepstack_visual_indexes", None):
            vision.deepstack_visual_indexes = [i for i in vision.deepstack_visual_indexes if i < vision_layers]
    return config


def depths(config: PreTrainedConfig) -> tuple[int, int]:
    """Numbers of layers of the decoder and of the vision tower."""
    vision = config.vision_config
    return config.get_text_config().num_hidden_layers, getattr(vision, depth_name(vision))


def depth_name(vision_config: Any) -> str:
    """Name of the field of a vision tower's config that holds its number of layers."""
    return "depth" if hasattr(vision_config, "depth") else "num_hidden_layers"


def _check(part: str, wanted: int, available: int) -> None:
    if not 1 <= wanted <= available:
        raise ModelError(f"the {part} cannot be cut to so many layers", got=wanted, expected=f"1..{available}")


def random_model(
    config: PreTrainedConfig,
    *,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
    attn_implementation: str = "sdpa",
) -> PreTrainedModel:
    """A model with this config and its usual random initialisation, in eval mode.

    Raises:
        ModelError: transformers has no model for this config, or the model is larger than the device's memory.
    """
    torch.manual_seed(0)
    try:
        _check_memory(described_size(config)[0] * dtype.itemsize, torch.device(device))
        with torch.device(device):
            model: Any = AutoModelForImageTextToText.from_config(
                config, dtype=dtype, attn_implementation=attn_implementation
            )
    except Exception as error:
        if is_out_of_memory(error) or isinstance(error, HalfVError):
            raise
        raise ModelError(f"no model can be made of this config ({reason_of(error)})") from None
    model.generation_config.eos_token_id = None
    return model.eval()  # type: ignore[no-any-return]


def _check_memory(needed: int, device: torch.device) -> None:
    memory = memory_of(device)
    if memory is not None and needed > memory:
        raise ModelError(
            f"the weights do not fit into the memory of {device}",
            got=f"{needed / 2**30:,.1f} GiB",
            expected=f"at most {memory / 2**30:,.1f} GiB",
            remedy="cut the model with --layers and --vision-layers, or use --dtype bfloat16",
        )
