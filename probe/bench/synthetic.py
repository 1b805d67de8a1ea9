"""Shapes of real models as data, and models of those shapes with random weights: no hub, no checkpoint.

model = random_model(config_of("qwen2.5-vl-7b"), layers=8, vision_layers=8)

The files in `shapes/` hold what the checkpoints' own config.json say about sizes (Qwen/Qwen2.5-VL-*-Instruct,
llava-hf/llava-1.5-*-hf, llava-hf/llava-v1.6-mistral-7b-hf); the counts of parameters come out as published.
"""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel

from halfv_core.errors import ModelError
from halfv_core.models import hub_answers, resolve

_FOLDER = Path(__file__).parent / "shapes"


def shipped_shapes() -> dict[str, Path]:
    """Name -> file of the shapes that come with the package."""
    return {path.stem: path for path in sorted(_FOLDER.glob("*.json"))}


def config_of(name: str) -> PreTrainedConfig:
    """The config behind a name: a shipped shape, else that of a bundled model, a folder or a hub id.

    Raises:
        ModelError: nothing of these, or a config that cannot be read.
    """
    shapes = shipped_shapes()
    if name in shapes:
        return AutoConfig.for_model(**json.loads(shapes[name].read_text(encoding="utf-8")))
    source = resolve(name)
    offline = Path(source).is_dir() or not hub_answers()
    try:
        found: PreTrainedConfig = AutoConfig.from_pretrained(source, local_files_only=offline)
    except (OSError, ValueError, KeyError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(
            f"no config of '{name}' ({reason})", expected=f"a folder, or a shipped shape: {', '.join(shapes)}"
        ) from None
    return found


def sliced(config: PreTrainedConfig, layers: int | None = None, vision_layers: int | None = None) -> PreTrainedConfig:
    """A config with the first so many layers of its decoder and of its vision tower; None leaves them as they are.

    A tower with a few layers of full attention among windowed ones keeps one of them at least, its last.

    Args:
        config: changed in place.

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
    """Layers of the decoder and of the vision tower."""
    vision = config.vision_config
    return config.get_text_config().num_hidden_layers, getattr(vision, depth_name(vision))


def depth_name(vision_config: Any) -> str:
    """Field of a vision tower's config that holds its number of layers."""
    return "depth" if hasattr(vision_config, "depth") else "num_hidden_layers"


def _check(part: str, wanted: int, there: int) -> None:
    if not 1 <= wanted <= there:
        raise ModelError(f"the {part} cannot be cut to so many layers", got=wanted, expected=f"1..{there}")


def random_model(
    config: PreTrainedConfig, *, dtype: torch.dtype = torch.bfloat16, device: torch.device | str = "cpu"
) -> PreTrainedModel:
    """A model of a shape, its weights drawn by the model class itself, in eval mode, with the sdpa kernel.

    Raises:
        ModelError: transformers has no model for this config.
    """
    torch.manual_seed(0)
    try:
        with torch.device(device):
            model: Any = AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation="sdpa")
    except ValueError as error:
        raise ModelError(f"no model can be made of this config ({str(error).splitlines()[0]})") from None
    model.generation_config.eos_token_id = None
    return model.eval()  # type: ignore[no-any-return]
