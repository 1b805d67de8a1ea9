"""Kinds of linear layers that are not a plain matrix: what quantisers, adapters and users put in their place."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrizations

from halfv_core.families import parts_of


def rounded(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(out, in) weight -> int8 values and (out, 1) scales."""
    scale = weight.abs().amax(1, keepdim=True) / 127
    return (weight / scale).round().to(torch.int8), scale


class Buffers(nn.Module):
    """As GPTQ and AWQ: no weight, but integers and scales in buffers."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        values, scales = rounded(linear.weight.detach())
        self.register_buffer("qweight", values.T.contiguous())
        self.register_buffer("scales", scales)
        self.register_buffer("bias", None if linear.bias is None else linear.bias.detach())

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        buffers: dict[str, Any] = dict(self.named_buffers())
        weight = buffers["qweight"].T.to(states.dtype) * buffers["scales"]
        return nn.functional.linear(states, weight, buffers.get("bias"))


class Integers(nn.Linear):
    """As bitsandbytes: a subclass of `Linear`, whose weight holds integers."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False)
        values, self.scale = rounded(linear.weight.detach())
        self.weight = nn.Parameter(values, requires_grad=False)
        self.bias = linear.bias

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(states, self.weight.to(states.dtype) * self.scale, self.bias)


class Packed(torch.Tensor):
    """As torchao and quanto: a tensor without values of its own, around others."""

    values: torch.Tensor
    scale: torch.Tensor

    @staticmethod
    def __new__(cls, values: torch.Tensor, scale: torch.Tensor) -> "Packed":
        packed: Packed = torch.Tensor._make_wrapper_subclass(cls, values.shape, dtype=scale.dtype)  # type: ignore
        packed.values, packed.scale = values, scale
        return packed

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["values", "scale"], None

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.ops.aten.detach.default:
            return Packed(args[0].values, args[0].scale)
        if function not in (torch.ops.aten.t.default, torch.ops.aten.linear.default):
            raise NotImplementedError(function)
        plain = [arg.values.to(arg.scale.dtype) * arg.scale if isinstance(arg, Packed) else arg for arg in args]
        return function(*plain, **(kwargs or {}))


def with_packed_weight(linear: nn.Linear) -> nn.Module:
    linear.weight = nn.Parameter(Packed(*rounded(linear.weight.detach())), requires_grad=False)
    return linear


class Float8(nn.Linear):
    """As FineGrainedFP8: 8-bit floating-point numbers, and a scale beside them."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False)
        self.weight_scale_inv = nn.Parameter(linear.weight.detach().abs().max() / 448)
        self.weight = nn.Parameter((linear.weight.detach() / self.weight_scale_inv).to(torch.float8_e4m3fn), False)
        self.bias = linear.bias

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(states, self.weight.to(states.dtype) * self.weight_scale_inv, self.bias)


class Adapted(nn.Module):
    """As PEFT: a base layer and two small matrices."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.base_layer = linear
        self.down, self.up = nn.Linear(linear.in_features, 2), nn.Linear(2, linear.out_features)

    @property
    def weight(self) -> nn.Parameter:
        return self.base_layer.weight

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        added: torch.Tensor = self.base_layer(states) + self.up(self.down(states))
        return added


def with_hook(linear: nn.Linear) -> nn.Module:
    linear.register_forward_hook(lambda module, args, output: output * torch.linspace(0.5, 2, output.shape[-1]))
    return linear


def with_old_weight_norm(linear: nn.Linear) -> nn.Module:
    """torch's former weight norm: a hook before the forward sets a weight that is no parameter."""
    hooked = with_hook(linear)
    plain: Any = hooked.weight
    del hooked._parameters["weight"]
    hooked.register_forward_pre_hook(lambda module, args: setattr(module, "weight", plain * 2))
    hooked.weight = plain.detach()  # type: ignore[assignment]
    return hooked


def with_own_forward(linear: nn.Linear) -> nn.Module:
    own: Any = linear.forward
    linear.forward = lambda states: own(states * torch.linspace(0.5, 2, states.shape[-1]))  # type: ignore[assignment]
    return linear


def parametrized(linear: nn.Linear) -> nn.Module:
    normed: nn.Linear = parametrizations.weight_norm(linear)
    with torch.no_grad():
        normed.parametrizations.weight.original0 *= torch.linspace(0.5, 2, linear.out_features)[:, None]
    return normed


KINDS: dict[str, Callable[[nn.Linear], nn.Module]] = {
    "adapted": Adapted,
    "buffers": Buffers,
    "float8": Float8,
    "hook": with_hook,
    "integers": Integers,
    "own forward": with_own_forward,
    "parametrized": parametrized,
    "tensor subclass": with_packed_weight,
    "weight from a hook": with_old_weight_norm,
}
"""By name: turns a plain linear layer into one of the kind."""


def replace_linears(model: Any, make: Callable[[nn.Linear], nn.Module]) -> None:
    """Replace the linear layers of the decoder's attention and MLP."""
    for layer in parts_of(model).layers:
        for holder in (layer.self_attn, layer.mlp):
            for name, module in list(holder.named_children()):
                if isinstance(module, nn.Linear):
                    setattr(holder, name, make(module))
    model.requires_grad_(False)
