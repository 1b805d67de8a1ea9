"""Arithmetic that ranks tokens: in float32 from the model's own numbers, whatever the model's dtype, and never on NaN.

A product or a norm that is rounded to float16 overflows at 65,504, and one rounded to bfloat16 has 8 bits: scores of
different tokens become equal, or NaN. Attention kernels such as sdpa add up in float32, so a model can answer well in a
dtype in which its attention cannot be ranked.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from halfv_core.errors import UnsupportedError
from halfv_core.placement import device_of

_PLAIN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def widened(states: torch.Tensor) -> torch.Tensor:
    """The same numbers in float32, or in their own dtype if that is wider."""
    return states.to(torch.promote_types(states.dtype, torch.float32))


def widened_norm(norm: nn.Module, states: torch.Tensor) -> torch.Tensor:
    """A model's norm of the states, in float32 and not rounded to the model's dtype."""
    if isinstance(norm, nn.LayerNorm):  # takes states of its weights' dtype only
        return widened(norm(states))
    return widened(norm(widened(states)))


def is_matrix(project: nn.Module, device: torch.device | None = None) -> bool:
    """Whether a projection is a matrix and at most a bias: not adapted, quantised or sharded; if given, on `device`.

    Its weights may be offloaded; `placement.weights_in_memory` lets them be read. One with hooks, or with a forward of
    its own, may compute something else; accelerate's only moves tensors.
    """
    if type(project) is not nn.Linear or type(project.weight) is not nn.Parameter:
        return False
    replaced = "forward" in project.__dict__ and not hasattr(project, "_hf_hook")
    if replaced or project._forward_hooks or project._forward_pre_hooks:
        return False
    return project.weight.dtype in _PLAIN and device in (None, device_of(project))


def rows_of(project: nn.Module, device: torch.device) -> torch.Tensor | None:
    """The weight (out, in) of a projection that is a matrix, and of a tensor-parallel one the rows of this process.

    None if the projection is anything else.
    """
    weight: Any = getattr(project, "weight", None)
    if is_matrix(project, device):
        return weight  # type: ignore[no-any-return]
    local: Any = weight.to_local() if hasattr(weight, "to_local") else None  # of a DTensor
    if type(project) is not nn.Linear or type(local) not in (torch.Tensor, nn.Parameter):
        return None
    return local if local.device == device and local.dtype in _PLAIN else None


def no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Inside the block, products on the device are not rounded to the dtype of a surrounding `torch.autocast`."""
    return torch.autocast(device.type, enabled=False)


def not_finite(what: str, got: str, dtype: torch.dtype) -> UnsupportedError:
    """The error about numbers of a model in `dtype` that cannot be ranked, being NaN or infinite."""
    if dtype == torch.float16:  # whose range is small
        remedy = "load the model in bfloat16 or float32"
    else:
        remedy = "check the checkpoint's weights and the model's inputs for NaN and infinite values"
    name = str(dtype).removeprefix("torch.")
    return UnsupportedError(what, got=f"{got} of a model in {name}", expected="finite numbers", remedy=remedy)
