"""Describes a model that no family is registered for, from its modules and its config.

What is found here is where things seem to be. Whether the runtime does the right thing with them is proven on the model
itself before it is used; see `halfv_core.families.admission`.
"""

import inspect
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from halfv_core.errors import ModelError
from halfv_core.families.description import Family

VISUAL_TOKENS = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")
"""Config fields in which transformers' model classes keep the ids that stand for visual tokens."""
FINAL_NORMS = ("norm", "embedding_norm", "final_layernorm")
"""Names that decoders have for the norm behind their last layer."""
DEEPSTACK = "_deepstack_process"
"""Name of the decoder's method that adds features of the vision tower between layers, where there is one."""


def discovered(model: PreTrainedModel) -> Family:
    """A description of a transformers model by its structure.

    Raises:
        ModelError: no decoder, no module that receives token ids and images, or no ids of visual tokens are found; the
            message says what is missing.
    """
    name = type(model).__name__.removesuffix("ForConditionalGeneration")
    decoder = _decoder(model, name)
    ids = tuple(field for field in VISUAL_TOKENS if isinstance(getattr(model.config, field, None), int))
    if not ids:
        raise _unclear(name, "its config names no visual token", expected=" or ".join(VISUAL_TOKENS))
    return Family(
        name=name,
        decoders=(model.config.get_text_config().model_type,),
        visual_tokens=ids,
        core=_core(model, decoder, name),
        decoder=decoder,
        norm=_norm(model.get_submodule(decoder)) or "norm",
        deepstack=DEEPSTACK if hasattr(model.get_submodule(decoder), DEEPSTACK) else None,
    )


def _decoder(model: Any, name: str) -> str:
    """Path to the module that has the word embeddings, the layers and the final norm; of several, transformers' own."""
    found = {
        path: module
        for path, module in model.named_modules()
        if isinstance(getattr(module, "layers", None), nn.ModuleList) and _norm(module)
        if hasattr(module, "embed_tokens")
    }
    paths: list[str] = [path for path, module in found.items() if module is model.get_decoder()] or list(found)
    if len(paths) != 1 or not paths[0]:
        raise _unclear(
            name,
            "its decoder cannot be found",
            got=", ".join(paths) or "no such module",
            expected="one module with embed_tokens, layers and a final norm",
        )
    return paths[0]


def _norm(module: nn.Module) -> str | None:
    """Name of a module's final norm, if it has one."""
    return next((name for name in FINAL_NORMS if hasattr(module, name)), None)


def _core(model: PreTrainedModel, decoder: str, name: str) -> str:
    """Path to the innermost module around the decoder that receives token ids and pixels."""
    parts = decoder.split(".")
    for length in range(len(parts) - 1, 0, -1):
        path = ".".join(parts[:length])
        takes = inspect.signature(model.get_submodule(path).forward).parameters
        if "input_ids" in takes and any(taken.startswith("pixel_values") for taken in takes):
            return path
    raise _unclear(
        name,
        f"no module around {decoder} receives token ids and pixels",
        expected="a module below the top, as `model` in most classes",
    )


def _unclear(name: str, what: str, *, got: str | None = None, expected: str) -> ModelError:
    return ModelError(
        f"{name} has no registered family, and {what}",
        got=got,
        expected=expected,
        remedy="describe the model with halfv_core.Family(...) and pass it as family=",
    )
