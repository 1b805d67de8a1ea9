"""What a caller asks of the loading of a model: its numbers and where they go, and what is refused before it begins."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from halfv_core.errors import MAX_VALUE, HalfVError, ModelError, RunError, shortened
from halfv_core.failures import is_out_of_memory, reason_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

DTYPES = ("auto", "float32", "bfloat16", "float16")
SPREADING = ("auto", "balanced", "balanced_low_0", "sequential")
"""Names of ways to fill the devices, of accelerate."""


@dataclass(frozen=True)
class Loading:
    """How a model is loaded; the fields are the arguments of `halfv_core.models.load_model`."""

    dtype: str = "auto"
    device: str = "auto"
    device_map: str | Path | None = None
    max_memory: Mapping[int | str, int | str] | None = None
    gpus: Sequence[int] | None = None
    tensor_parallel: int | None = None
    load_in: str | None = None

    def check(self) -> None:
        """Refuse what cannot be asked for together, or of this machine; reads no checkpoint.

        Raises:
            ModelError: see above.
        """
        from halfv_core.device_maps import read_device_map
        from halfv_core.devices import check_device, memory_limits
        from halfv_core.quantising import check_load_in
        from halfv_core.tensor_parallel import check_processes

        if self.dtype not in DTYPES:
            raise ModelError("unknown dtype", got=self.dtype, expected=" or ".join(DTYPES))
        self._check_combination()
        if self.device != "auto":
            check_device(self.device)
        if self._file is not None:
            places = set(read_device_map(self._file).values())
            if self.load_in is not None and places & {"cpu", "disk"} and places != {"cpu"}:
                raise ModelError(
                    "weights of 4 or 8 bits stay on the device that computes with them",
                    got=f"a device map with {' and '.join(sorted(map(str, places)))}",
                    expected="GPUs only, or cpu only",
                )
        if self.max_memory is not None or self.gpus is not None:
            memory_limits(self.max_memory or {}, self.gpus)
        if self.tensor_parallel is not None:
            check_processes(self.tensor_parallel)
        if self.load_in is not None:
            check_load_in(self.load_in)

    def arguments(self, name: str, described: Callable[[], "PreTrainedModel"]) -> dict[str, Any]:
        """The arguments of transformers' `from_pretrained`, after `check`.

        Args:
            name: of the checkpoint, for messages.
            described: makes the checkpoint's model without memory, on the meta device.

        Raises:
            ModelError: the model cannot be split or placed in this way, or is quantised already.
        """
        from halfv_core.device_maps import fitted, read_device_map
        from halfv_core.devices import memory_limits
        from halfv_core.quantising import quantisation
        from halfv_core.tensor_parallel import distributed_config

        chosen: dict[str, Any] = {"dtype": self.dtype}
        if self.load_in is not None:
            chosen["quantization_config"] = quantisation(name, described().config, self.load_in, self.dtype)
        if self.is_split:
            assert self.tensor_parallel is not None
            return chosen | {"distributed_config": distributed_config(name, described(), self.tensor_parallel)}
        if self._file is not None:
            return chosen | {"device_map": fitted(read_device_map(self._file), described(), self._file)}
        if self.max_memory is not None or self.gpus is not None:
            chosen["max_memory"] = memory_limits(self.max_memory or {}, self.gpus)
        return chosen | {"device_map": self._places("max_memory" in chosen)}

    @property
    def is_split(self) -> bool:
        """Whether several processes hold parts of each layer."""
        return self.tensor_parallel is not None and self.tensor_parallel > 1

    @property
    def _file(self) -> Path | None:
        """The file of the device map, if there is one."""
        return None if self.device_map is None or self.device_map in SPREADING else Path(self.device_map)

    def _places(self, limited: bool) -> Any:
        import torch

        if self.device != "auto":
            return {"": torch.device(self.device)}
        # Without an accelerator and limits there is nothing to spread over, and no hooks are needed.
        return self.device_map or ("auto" if limited or torch.cuda.is_available() else None)

    def _check_combination(self) -> None:
        placed = {
            "device": None if self.device == "auto" else self.device,
            "device_map": self.device_map,
            "tensor_parallel": self.tensor_parallel if self.is_split else None,
        }
        given = [f"{name} {value}" for name, value in placed.items() if value is not None]
        if len(given) > 1:
            raise ModelError(
                "a model is placed in one way",
                got=shortened(" and ".join(given), MAX_VALUE),
                expected="one of device, device_map and tensor_parallel",
            )
        if given and self.device_map not in SPREADING:
            for name, value in (("max_memory", self.max_memory), ("gpus", self.gpus)):
                if value is not None:
                    raise ModelError(
                        "memory limits are for a model that may be spread"
                        if name == "max_memory"
                        else "GPUs are given to choose from, and the place of the weights is already said",
                        got=shortened(given[0], MAX_VALUE),
                        expected=f"device auto, or device_map {', '.join(SPREADING)}",
                    )
        if self.gpus is not None and self.device_map == "balanced_low_0":
            raise ModelError(
                "balanced_low_0 spares the first GPU of the machine, and cannot be used with some of the GPUs",
                expected="device_map auto, balanced or sequential",
            )
        if self.is_split and self.load_in is not None:
            raise ModelError(
                "weights of 4 or 8 bits cannot be split over processes",
                got=f"tensor_parallel {self.tensor_parallel} and load_in {self.load_in}",
                expected="one of them",
                remedy=f"spread them instead: --device-map auto --load-in {self.load_in}",
            )


def cannot_load(name: str, place: str, offline: bool, error: Exception) -> HalfVError:
    """The one-line error for what transformers raised while it loaded a checkpoint.

    Args:
        name: as the user gave it.
        place: folder or hub id.
        offline: whether nothing may be requested from the hub.
    """
    if is_out_of_memory(error):
        return RunError(
            f"out of memory while {name} was loaded ({reason_of(error)})",
            remedy="use --dtype bfloat16, a smaller model, or --device auto --max-memory cpu=8GiB (or what there is), "
            "which leaves on disk what does not fit",
        )
    reason = reason_of(error)
    if "trust_remote_code" in str(error):
        return ModelError(
            f"{name} brings code of its own, which is not run unasked",
            remedy="read that code, then add --trust-remote-code",
        )
    if "offload_folder" in str(error) or "offload_dir" in str(error):
        return ModelError(
            f"parts of {name} would have to stay on disk, and its files cannot be read part by part",
            got="other files than safetensors",
            remedy="save the checkpoint again with save_pretrained, or let more of it into memory by --max-memory",
        )
    if "dispatched on the CPU or the disk" in str(error):
        return ModelError(
            f"{name} does not fit on the devices that run it, and quantised weights cannot be brought from elsewhere",
            remedy="use more GPUs or a smaller model, let weights take more by --max-memory, or leave out --load-in",
        )
    if Path(place).is_dir():
        return ModelError(f"cannot load the checkpoint {name} ({reason})")
    if offline:
        reason = "no network, and not whole in the local cache"
    return ModelError(
        f"cannot get {place} from the hub ({reason})",
        remedy="connect to the network, or download the checkpoint elsewhere and pass its folder: --model /path/to/it",
    )
