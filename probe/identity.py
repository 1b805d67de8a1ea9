"""Which weights a model has, without reading all of them."""

import hashlib

import torch
from transformers import PreTrainedModel

LOOKED_AT = 256
"""Numbers of each parameter that are hashed, spread evenly."""


@torch.no_grad()
def weights_fingerprint(model: PreTrainedModel) -> str:
    """sha256 over names, shapes, dtypes and evenly spread values of all parameters: training changes them all."""
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // LOOKED_AT)][:LOOKED_AT].float().cpu()
        digest.update(f"{name} {tuple(parameter.shape)} {parameter.dtype}".encode())
        digest.update(some.numpy().tobytes())
    return digest.hexdigest()
