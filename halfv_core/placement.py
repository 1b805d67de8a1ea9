"""Where modules compute, and how their weights are read while accelerate's offloading keeps them elsewhere.

An offloaded module has its weights on the meta device until it is called. A hook, `module._hf_hook`, then brings them
to its execution device, and takes them away again. Where modules are called, the hooks do what is needed, except that
tensors which meet outside of modules must be on one device; where weights are read beside the calls, so must they be.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any

import torch
from torch import nn

from halfv_core.errors import ModelError, UnsupportedError


def device_of(module: nn.Module) -> torch.device:
    """The device on which a module computes, and on which it expects its inputs; of a model, that of its inputs.

    Raises:
        UnsupportedError: its weights are on the meta device, and nothing brings them to another one.
    """
    for part in module.modules():
        for hook in _hooks(part):
            if getattr(hook, "execution_device", None) is not None:
                return _with_index(torch.device(hook.execution_device))
        for tensor in chain(part.parameters(recurse=False), part.buffers(recurse=False)):
            if not tensor.is_meta:
                return tensor.device
    raise UnsupportedError(
        f"{type(module).__name__} has no weights in memory, and no hook of accelerate's brings them",
        expected="a model with weights on a device, or offloaded by accelerate",
    )


@contextmanager
def weights_in_memory(module: nn.Module) -> Iterator[None]:
    """Inside the block, a module's weights can be read although they are offloaded; do not call the module there."""
    with ExitStack() as stack:
        for part in module.modules():
            for hook in _offloading_hooks(part):
                _bring(stack, part, hook)
        yield


@contextmanager
def parts_callable(module: nn.Module) -> Iterator[None]:
    """Inside the block, a module's parts can be called by themselves, also if one hook brings the weights of them all.

    accelerate has such hooks on what is named in its `preload_module_classes`.
    """
    with ExitStack() as stack:
        for part in module.modules():
            for hook in _offloading_hooks(part):
                if hook.place_submodules:
                    _bring(stack, part, hook)
        yield


def stored_weight(model: nn.Module, name: str) -> torch.Tensor:
    """The weight that a hook puts in place of a meta tensor while its module runs.

    Args:
        model: whose `named_parameters` or `state_dict` has the name.
        name: of the weight.

    Raises:
        ModelError: no hook has it.
    """
    parts = name.split(".")
    for depth in reversed(range(len(parts))):  # the hook of the module itself, or of one around it
        key = ".".join(parts[depth:])
        for hook in _hooks(model.get_submodule(".".join(parts[:depth]))):
            weights = getattr(hook, "weights_map", None)
            if weights is not None and key in weights:
                return torch.as_tensor(weights[key])
    raise ModelError(f"the values of {name} cannot be read", got="a meta tensor without accelerate's hook")


def offloaded_share(model: nn.Module) -> float:
    """Share of a model's weights, 0..1, that is brought to a device only when it is needed."""
    sizes = [(weight.numel(), weight.is_meta) for weight in model.parameters()]
    return sum(size for size, meta in sizes if meta) / max(1, sum(size for size, _ in sizes))


def _bring(stack: ExitStack, module: nn.Module, hook: Any) -> None:
    stack.callback(hook.post_forward, module, None)
    hook.pre_forward(module)


def _offloading_hooks(module: nn.Module) -> list[Any]:
    return [hook for hook in _hooks(module) if getattr(hook, "offload", False) is True]


def _hooks(module: nn.Module) -> list[Any]:
    """accelerate's hooks on the module itself."""
    hook = getattr(module, "_hf_hook", None)
    return [] if hook is None else list(getattr(hook, "hooks", (hook,)))


def _with_index(device: torch.device) -> torch.device:
    """The device with its index, as tensors have it: cuda is cuda:0, or whichever GPU is the present one."""
    return device if device.index is not None or device.type == "cpu" else torch.empty(0, device=device).device
