"""Measures peak memory and the size of a KV cache."""

import ctypes
import sys
import weakref
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import DynamicCache

_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")


class PeakMemory:
    """Peak memory above the baseline at construction, of all GPUs or, on the CPU, of this process."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._baseline = self._start() if device.type in ("cuda", "cpu") else None

    def _start(self) -> int | None:
        if self._cuda:
            for index in range(torch.cuda.device_count()):
                torch.cuda.reset_peak_memory_stats(index)
            return sum(map(torch.cuda.memory_allocated, range(torch.cuda.device_count())))
        if not sys.platform.startswith("linux"):
            return None
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only
        if trim is not None:
            trim(0)  # otherwise freed memory that the allocator keeps would count towards the baseline
        try:
            _CLEAR.write_text("5")  # resets the peak, VmHWM, to the present value (man 5 proc)
        except OSError:
            return None
        return _process_status("VmRSS")

    def above_baseline(self) -> int | None:
        """Bytes above the baseline; None where the system does not report it."""
        if self._baseline is None:
            return None
        if self._cuda:
            peak = sum(map(torch.cuda.max_memory_allocated, range(torch.cuda.device_count())))
        else:
            peak = _process_status("VmHWM")
        return max(0, peak - self._baseline)


class TensorMemory(TorchDispatchMode):
    """Memory of the tensors that are made inside the block, on any device, in the thread that entered it.

    It is exact and depends on nothing else on the machine. What an operator needs only while it runs is not seen.

    with TensorMemory() as memory:
        model(**inputs)
    print(memory.peak)
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.live = 0
        """Bytes of the tensors that are still there."""
        self.peak = 0
        """The largest value that `live` has had."""
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = {leaf.untyped_storage().data_ptr() for leaf in tree_leaves((args, kwargs)) if _has_memory(leaf)}
        output = func(*args, **kwargs)
        for leaf in tree_leaves(output):
            if _has_memory(leaf):
                self._note(leaf.untyped_storage(), given)
        self.peak = max(self.peak, self.live)
        return output

    def _note(self, storage: torch.UntypedStorage, given: set[int]) -> None:
        """Count a storage unless it is counted already, or belongs to a tensor that was made outside the block."""
        address, size = storage.data_ptr(), storage.nbytes()
        if not size or address in self._sizes or address in given:
            return
        self._sizes[address] = size
        self.live += size
        weakref.finalize(storage, self._freed, address)

    def _freed(self, address: int) -> None:
        self.live -= self._sizes.pop(address, 0)


def _has_memory(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and not value.is_meta and value.layout == torch.strided


def _process_status(field: str) -> int:
    """A memory field of /proc/self/status, bytes."""
    lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024


def cache_bytes(cache: DynamicCache) -> int:
    """Bytes of all keys and values in a KV cache."""
    layers: list[Any] = cache.layers
    tensors = [tensor for layer in layers for tensor in (layer.keys, layer.values) if tensor is not None]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
