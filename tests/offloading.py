"""Ways in which accelerate offloads a model, all of them on a CPU: weights are on the meta device between calls."""

from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import cpu_offload, cpu_offload_with_hook, disk_offload, dispatch_model
from accelerate.hooks import attach_align_device_hook_on_blocks
from transformers import PreTrainedModel

from halfv_core.families import parts_of

Offload = Callable[[PreTrainedModel, Path], PreTrainedModel]
"""Takes a model and a folder of its own."""


def blocks(model: PreTrainedModel) -> list[str]:
    """Names of the modules that a device map places: the layers, and what is beside the path to them."""
    first = next(name for name, module in model.named_modules() if module is parts_of(model).layers[0])
    around = {first[:at] for at in range(len(first)) if first[at] == "."} | {""}
    names = [name for name, _ in model.named_modules() if name and name not in around]
    return [name for name in names if name.rpartition(".")[0] in around]


def dispatched(*parts: str, preload: bool = False, buffers: bool = False) -> Offload:
    """Offloads the blocks with one of these texts in their names to the disk; with `preload` a layer at a time."""

    def offload(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
        places = {name: "disk" if any(part in name for part in parts) else "cpu" for name in blocks(model)}
        return dispatch_model(  # type: ignore[no-any-return]
            model,
            places,
            offload_dir=folder,
            offload_buffers=buffers,
            skip_keys=model._skip_keys_device_placement,
            preload_module_classes=[type(parts_of(model).layers[0]).__name__] if preload else None,
        )

    return offload


OFFLOADED: dict[str, Offload] = {
    "last layers": dispatched("layers.2", "layers.3", "layers.4"),
    "vision tower": dispatched("vis"),
    "head, embeddings and norm": dispatched("lm_head", "embed_tokens", "norm"),
    "everything": dispatched(""),
    "everything, with buffers": dispatched("", buffers=True),
    "whole layers at a time": dispatched("", preload=True),
    "cpu_offload": lambda model, _: cpu_offload(model, execution_device=torch.device("cpu")),
    "disk_offload": lambda model, folder: disk_offload(model, folder, execution_device=torch.device("cpu")),
    "cpu_offload_with_hook": lambda model, _: cpu_offload_with_hook(model, execution_device=torch.device("cpu"))[0],
}


def split(model: PreTrainedModel, first: str, second: str) -> PreTrainedModel:
    """Run the first half of the blocks on one device and the second half on another."""
    names = blocks(model)
    places = {name: first if index < len(names) // 2 else second for index, name in enumerate(names)}
    attach_align_device_hook_on_blocks(
        model, places | {"": first}, offload=dict.fromkeys(names, False), skip_keys=model._skip_keys_device_placement
    )
    return model
