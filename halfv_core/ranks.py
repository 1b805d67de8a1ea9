"""The processes that run one tensor-parallel model together, each with some of its attention heads.

They take every step alike: a token that one of them drops is missing from the keys of all heads. So scores are averaged
over the heads of all processes, and what one of them decides is told to the others.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import distributed, nn

from halfv_core.errors import UnsupportedError


@dataclass(frozen=True)
class Ranks:
    """The processes over which the attention heads of one model are split."""

    group: Any = None
    """A `torch.distributed.ProcessGroup`; None if one process has all heads, and there is nothing to agree on."""

    @property
    def is_first(self) -> bool:
        """Whether this process is the one whose decisions count, and which writes files."""
        return self.group is None or distributed.get_rank(self.group) == 0

    def mean_over_heads(self, weights: torch.Tensor) -> torch.Tensor:
        """Mean over all heads of what is known of the heads here; heads that several processes have weigh the same.

        Args:
            weights: (B, H_kv, H / H_kv, n) float32, of the heads of this process.

        Returns:
            (B, n), the same in every process.
        """
        if self.group is None:
            return weights.mean((1, 2))
        heads = weights.new_full((1, weights.shape[3]), weights.shape[1] * weights.shape[2])
        total = torch.cat([weights.sum((1, 2)), heads])  # (B + 1, n)
        distributed.all_reduce(total, group=self.group)
        return total[:-1] / total[-1]

    def agreed(self, tensor: torch.Tensor) -> torch.Tensor:
        """The first process's tensor, in every process; all give one of the same shape and dtype."""
        if self.group is not None:
            tensor = tensor.contiguous()
            distributed.broadcast(tensor, src=distributed.get_global_rank(self.group, 0), group=self.group)
        return tensor

    def agreed_value(self, value: Any) -> Any:
        """The first process's value, which can be pickled, in every process."""
        if self.group is None:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=distributed.get_global_rank(self.group, 0), group=self.group)
        return values[0]


ALONE = Ranks()
"""One process, which runs the whole model."""


def ranks_of(model: nn.Module, layer: nn.Module) -> Ranks:
    """The processes over which a model's heads are split, by transformers or by torch's `parallelize_module`.

    Args:
        model: as transformers loaded it.
        layer: any of its decoder layers.

    Raises:
        UnsupportedError: the model is split in another way as well, by layers (pipeline parallel) or by FSDP, in which
            processes run prompts of their own.
    """
    mesh: Any = getattr(model, "_device_mesh", None)
    if mesh is None:
        meshes = (getattr(weight, "device_mesh", None) for weight in layer.parameters())
        mesh = next((found for found in meshes if found is not None), None)
    if any(base.__name__ in _FSDP for module in model.modules() for base in type(module).__mro__):
        raise _split("by FSDP")
    if mesh is None or mesh.size() == 1:
        return ALONE
    if mesh.ndim == 1:
        return Ranks(mesh.get_group())
    names = mesh.mesh_dim_names or ()
    others = [name for name, size in zip(names, mesh.shape, strict=False) if size > 1 and name != "tp"]
    if others or "tp" not in names:
        raise _split(f"over a device mesh of {dict(zip(names, mesh.shape, strict=False)) or tuple(mesh.shape)}")
    return Ranks(mesh.get_group("tp"))


_FSDP = ("FSDPModule", "FullyShardedDataParallel")


def _split(how: str) -> UnsupportedError:
    return UnsupportedError(
        "a model that is split in this way cannot run under a plan",
        got=f"a model split {how}",
        expected="one process, or tensor parallelism alone",
        remedy="load it with distributed_config=DistributedConfig(tp_size=...) or device_map='auto'",
    )
