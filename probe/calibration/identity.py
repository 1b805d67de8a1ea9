"""What a model is at this moment: its weights, without reading all of them, and how it and its processor are set."""

import hashlib

import torch
from transformers import PreTrainedModel

from halfv_core.processors import PromptProcessor

LOOKED_AT = 256
"""Numbers of each parameter that are hashed, spread evenly."""


@torch.no_grad()
def weights_fingerprint(model: PreTrainedModel) -> str:
    """sha256 over names, shapes, dtypes and evenly spread values of all parameters: training changes them all."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().reshape(-1)
        some = flat[:: max(1, -(-flat.numel() // LOOKED_AT))].float().cpu()
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        digest.update(some.numpy().tobytes())
    return digest.hexdigest()


def setup_fingerprint(model: PreTrainedModel, processor: PromptProcessor) -> str:
    """sha256 over everything else that numbers depend on: config, generation config, image processor, template."""
    backend = processor.backend
    parts = [model.config, model.generation_config, backend.image_processor]
    texts = [*(part.to_json_string() for part in parts), str(backend.chat_template)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
