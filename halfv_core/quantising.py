"""Weights that are packed into 4 or 8 bits while they are loaded, by bitsandbytes; and what numbers a model holds."""

from typing import Any

import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils.import_utils import is_bitsandbytes_available

from halfv_core.errors import ModelError

LOAD_IN = ("4bit", "8bit")


def check_load_in(load_in: str) -> None:
    """Refuse an unknown packing, or one whose package is not installed.

    Raises:
        ModelError: see above.
    """
    if load_in not in LOAD_IN:
        raise ModelError("no such load_in", got=load_in, expected=" or ".join(LOAD_IN))
    if not is_bitsandbytes_available():
        raise ModelError(
            f"--load-in {load_in} needs bitsandbytes, which is not installed", remedy="pip install bitsandbytes"
        )


def quantisation(name: str, config: PreTrainedConfig, load_in: str, dtype: str) -> Any:
    """What `from_pretrained` takes as `quantization_config`: nf4 with packed scales (QLoRA), or LLM.int8.

    Args:
        name: of the checkpoint, for messages.
        config: of the checkpoint.
        dtype: of the rest of the model, as in `load_model`; 4-bit weights are unpacked to it.

    Raises:
        ModelError: the checkpoint is quantised already.
    """
    from transformers import BitsAndBytesConfig

    found = _method(config)
    if found is not None:
        raise ModelError(
            f"{name} is quantised already",
            got=f"weights by {found}",
            expected="a checkpoint with plain weights",
            remedy="leave out --load-in",
        )
    if load_in == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    computes_in = config.dtype if dtype == "auto" else getattr(torch, dtype)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=computes_in or torch.float32,
    )


def numbers_of(model: PreTrainedModel) -> str:
    """The dtype of a model, and how its weights are packed: `bfloat16`, or `bfloat16, weights by bitsandbytes nf4`."""
    dtype, packed = str(model.dtype).removeprefix("torch."), _method(model.config)
    return dtype if packed is None else f"{dtype}, weights by {packed}"


def _method(config: PreTrainedConfig) -> str | None:
    """What the weights were quantised with; None if they are plain."""
    found = getattr(config, "quantization_config", None) or getattr(
        config.get_text_config(), "quantization_config", None
    )
    if not found:
        return None
    settings: dict[str, Any] = found if isinstance(found, dict) else found.to_dict()
    method = settings.get("quant_method", "a quantiser without a name")
    name = str(getattr(method, "value", method))
    if name != "bitsandbytes":
        return name
    return f"{name} {'int8' if settings.get('load_in_8bit') else settings.get('bnb_4bit_quant_type')}"
