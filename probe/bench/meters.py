"""Measures peak memory and the size of a KV cache."""

import ctypes
import sys
from pathlib import Path
from typing import Any

import torch
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


def _process_status(field: str) -> int:
    """A memory field of /proc/self/status, bytes."""
    lines = _STATUS.read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) * 1024


def cache_bytes(cache: DynamicCache) -> int:
    """Bytes of all keys and values in a KV cache."""
    layers: list[Any] = cache.layers
    tensors = [tensor for layer in layers for tensor in (layer.keys, layer.values) if tensor is not None]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
