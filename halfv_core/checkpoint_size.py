"""Whether a config asks for a model of the size of its weights, asked before the model is made and takes its memory."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel

from halfv_core.errors import ModelError

MOST_LAYERS = 1000
"""Most layers, or experts of a layer, that a model may have; each is an object, even in a model without memory."""

_COUNTS = (
    "depth",
    "decoder_layers",
    "encoder_layers",
    "n_layer",
    "n_layers",
    "n_routed_experts",
    "num_experts",
    "num_hidden_layers",
    "num_layers",
    "num_local_experts",
)
_WEIGHTS = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.gguf")


def check_counts(name: str, file: Path) -> None:
    """Refuse a config.json with more layers than any model has, which transformers would begin to make.

    Args:
        name: the checkpoint, for the message.
        file: its config.json; one that cannot be read is left to transformers.

    Raises:
        ModelError: more layers or experts than `MOST_LAYERS`.
    """
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return
    for field, value in _fields(config, ""):
        if field.rpartition(".")[2] in _COUNTS and isinstance(value, int | float) and value > MOST_LAYERS:
            raise ModelError(
                f"the config.json of {name} asks for too large a model",
                got=f"{field} {value}",
                expected=f"at most {MOST_LAYERS:,}",
                remedy="download it again",
            )


def check_size(name: str, folder: Path, trust_remote_code: bool = False) -> None:
    """Refuse a config.json that describes a larger model than the weights beside it.

    Args:
        name: the checkpoint, for the message.
        folder: where its files are; nothing is checked if it holds no weights.

    Raises:
        ModelError: the weights have less than one byte for each parameter, or less than one bit if they are quantised.
    """
    stored = sum(path.stat().st_size for pattern in _WEIGHTS for path in folder.glob(pattern))
    if not stored:
        return
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code, local_files_only=True)
        parameters, buffers = described_size(config, trust_remote_code)
    except Exception:  # noqa: BLE001 - a config that no model can be made of; loading says why
        return
    quantised = getattr(config, "quantization_config", None) is not None
    if max(parameters, buffers) > stored * (8 if quantised else 1):
        raise ModelError(
            f"the weights of {name} do not fit its config.json",
            got=f"{stored:,} bytes for {max(parameters, buffers):,} numbers",
            expected="weights of that model",
            remedy="download the checkpoint again, or mend its config.json",
        )


def described_size(config: PreTrainedConfig, trust_remote_code: bool = False) -> tuple[int, int]:
    """Numbers of parameters and of elements of buffers of the model that a config describes, made without memory."""
    model = without_memory(config, trust_remote_code)
    return sum(one.numel() for one in model.parameters()), sum(one.numel() for one in model.buffers())


def without_memory(config: PreTrainedConfig, trust_remote_code: bool = False) -> PreTrainedModel:
    """The model that a config describes, with its weights on the meta device."""
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(config, trust_remote_code=trust_remote_code)
    return model  # type: ignore[no-any-return]


def _fields(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """The fields of nested objects with their dotted names."""
    if not isinstance(value, dict):
        return
    for name, inner in value.items():
        yield f"{path}{name}", inner
        yield from _fields(inner, f"{path}{name}.")
